// SPDX-License-Identifier: MIT OR GPL-2.0-only
// Frontends that misbehave towards their backends, as a script says: README.md. What is tested is
// that the device which misbehaves is the only one that suffers.
#include <xen/format.hpp>
#include <xen/port.h>

#include "disk.hpp"
#include "guest.hpp"
#include "nic.hpp"
#include "tap.hpp"

using namespace xen;

namespace {

constexpr unsigned max_cases = 120, max_honest = 4;

struct Case {
    const char *device; // below device/
    Words words;
};
constinit Case cases[max_cases];
constinit Test list[max_cases + 1];
constinit unsigned case_count;
constinit const char *honest_nodes[max_honest];
constinit unsigned honest_count;

constinit Disk disk, honest_disks[max_honest];
constinit Nic nic, honest_nics[max_honest];
const Words honest;

bool is_disk(const char *node) { return after(node, "vbd/"); }

// ---- one case ----

template <class Device>
Outcome misbehave(Device &device, const Words &words)
{
    auto connected = device.connect(words);
    if (!connected.ok())
        return words.value("states") ? Outcome::refused : Outcome::trouble;
    if (words.has("vanish"))
        (void)xenstore::remove({}, device.directory(), "state").ok();
    return connected.value() ? device.send(words) : Outcome::refused;
}

template <class Device>
bool serves(Device &device)
{
    auto connected = device.connect(honest);
    return connected.ok() && connected.value() && device.works();
}

bool expected(const char *list, const char *name)
{
    for (const char *at = list; *at;) {
        const char *rest = after(at, name);
        if (rest && (*rest == ',' || !*rest))
            return true;
        while (*at && *at++ != ',')
            ;
    }
    return text_equal(list, "any");
}

void fail(const char *what, const char *more = "")
{
    static TextLine<120> line;
    TextLine<120> text;
    text.text(what).text(more);
    tap::fail("script", 0, text.c_str());
}

template <class Device>
void run_on(Device &device, const Case &item)
{
    if (!device.find(item.device).ok())
        return fail("there is no device ", item.device);
    const char *outcome = outcome_name(misbehave(device, item.words));
    device.close();
    const char *wanted = item.words.value("expect");
    if (!expected(wanted ? wanted : "ok", outcome))
        fail("the outcome is ", outcome);
    if (item.words.has("broken"))
        return;
    if (!serves(device))
        fail("the device does not work afterwards");
    device.close();
}

bool honest_work()
{
    for (unsigned i = 0; i < honest_count; ++i) {
        if (is_disk(honest_nodes[i]) ? !honest_disks[i].works() : !honest_nics[i].works())
            return false;
    }
    return true;
}

void run_case()
{
    static unsigned next;
    const Case &item = cases[next++];
    if (is_disk(item.device))
        run_on(disk, item);
    else
        run_on(nic, item);
    if (!honest_work())
        fail("another device does not work any more");
}

// ---- the script ----

void skip_all() { SKIP("no script: it is the ramdisk"); }

// "TITLE | DEVICE WORD..." is a case, "also DEVICE" a device that must go on working.
void take_line(char *line)
{
    if (const char *node = after(line, "also ")) {
        if (honest_count < max_honest)
            honest_nodes[honest_count++] = node;
        return;
    }
    char *bar = line;
    while (*bar && *bar != '|')
        ++bar;
    if (*line == '#' || !*bar || case_count == max_cases)
        return;
    *bar++ = 0;
    Case &item = cases[case_count];
    item.words.split(bar);
    item.device = item.words.count() ? item.words[0] : "";
    list[case_count++] = {line, run_case};
}

void start_honest()
{
    for (unsigned i = 0; i < honest_count; ++i) {
        const char *node = honest_nodes[i];
        bool works = is_disk(node) ? honest_disks[i].find(node).ok() && serves(honest_disks[i])
                                   : honest_nics[i].find(node).ok() && serves(honest_nics[i]);
        if (!works)
            tap::bail_out("the devices that are to go on working do not work to begin with");
    }
}

} // namespace

// None of its own, for list_tests() knows better.
const Test tests[] = {{}};

const Test *list_tests()
{
    guest::Module script = guest::module();
    char *line = script.text;
    for (size_t i = 0; i < script.length; ++i) {
        if (script.text[i] != '\n')
            continue;
        script.text[i] = 0;
        take_line(line);
        line = script.text + i + 1;
    }
    if (!case_count)
        list[0] = {"a script", skip_all};
    else
        start_honest();
    return list;
}
