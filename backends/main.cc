// SPDX-License-Identifier: MIT OR GPL-2.0-only
// evilback: a disk or a network interface for a running guest, served from dom0's user space. It
// serves correctly until a command on its standard input says otherwise; README.md shows how.
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>

#include <unistd.h>

#include "blk/blk.hpp"
#include "net/net.hpp"

using namespace backends;

namespace {

constexpr const char *usage =
    "usage: evilback blk --domid N --vdev xvdq --memory MIB|--file FILE [--key KEY=VALUE]... "
    "[--later]\n"
    "       evilback net --domid N --index I --mac MAC --bridge BRIDGE [--key KEY=VALUE]... "
    "[--later]\n";

constexpr double last_detach = 5;
volatile std::sig_atomic_t end_wanted = 0;

// The command line: its options by name, the keys apart.
struct Options {
    Keys values;
    Keys keys;
    bool later = false; // attach when told to

    std::string required(const std::string &name) const
    {
        const auto found = values.find(name);
        if (found == values.end())
            throw Failure("--" + name + " is missing");
        return found->second;
    }
    uint32_t number(const std::string &name) const
    {
        const int64_t value = parse_number(required(name));
        if (value < 0 || value > UINT32_MAX)
            throw Failure("--" + name + " is out of range");
        return static_cast<uint32_t>(value);
    }
};

Options parse(const Words &words, const Words &known)
{
    Options options;
    for (size_t i = 0; i < words.size(); ++i) {
        const std::string &word = words[i];
        if (word == "--later") {
            options.later = true;
            continue;
        }
        const std::string name = word.starts_with("--") ? word.substr(2) : "";
        if (name != "key" && std::find(known.begin(), known.end(), name) == known.end())
            throw Failure("unknown option " + word);
        if (++i == words.size())
            throw Failure(word + " wants a value");
        const size_t equals = words[i].find('=');
        if (name != "key")
            options.values[name] = words[i];
        else if (equals == std::string::npos)
            throw Failure("--key wants KEY=VALUE");
        else
            options.keys[words[i].substr(0, equals)] = words[i].substr(equals + 1);
    }
    return options;
}

std::unique_ptr<Device> make_disk(const Options &options)
{
    return std::make_unique<Blk>(
        options.number("domid"), parse_vdev(options.required("vdev")),
        Storage(options.values.count("file") ? options.required("file") : "",
                options.values.count("file") ? 0 : uint64_t{options.number("memory")} << 20),
        options.keys);
}

std::unique_ptr<Device> make_interface(const Options &options)
{
    return std::make_unique<Net>(options.number("domid"), options.number("index"),
                                 options.required("mac"), options.required("bridge"), options.keys);
}

// Commands as they arrive on standard input. One that waits for the guest keeps those after it
// waiting, so a script can be written at once.
class Input {
public:
    // No more will come, and what came is done.
    bool ended() const { return ended_ && pending_.empty(); }
    bool open() const { return !ended_; }
    void take()
    {
        char buffer[4096];
        const ssize_t count = read(STDIN_FILENO, buffer, sizeof buffer);
        if (count > 0)
            pending_.append(buffer, static_cast<size_t>(count));
        else if (count == 0)
            ended_ = true;
        if (ended_ && !pending_.empty() && !pending_.ends_with('\n'))
            pending_ += '\n';
    }
    void run(Device &device)
    {
        answer(device);
        size_t end;
        while (!device.waiting() && (end = pending_.find('\n')) != std::string::npos) {
            const std::string line = pending_.substr(0, end);
            pending_.erase(0, end + 1);
            device.command(line);
            answer(device);
        }
    }

private:
    static void answer(Device &device)
    {
        if (const auto text = device.take_answer())
            std::cout << *text << std::endl;
    }

    std::string pending_;
    bool ended_ = false;
};

int serve(Device &device)
{
    Input input;
    bool leaving = false;
    while (!device.finished() && !(leaving && !device.attached())) {
        if ((input.ended() || end_wanted) && !leaving) {
            leaving = true;
            device.command("honest");
            device.take_answer();
            if (device.attached())
                device.detach(last_detach);
        }
        std::vector<pollfd> sources;
        if (input.open())
            sources.push_back({STDIN_FILENO, POLLIN, 0});
        device.add_sources(sources);
        const int ready = poll(sources.data(), sources.size(), device.patience());
        if (ready > 0 && input.open() && sources[0].revents)
            input.take();
        device.work();
        input.run(device);
    }
    return 0;
}

int run(const Words &words)
{
    const std::string kind = words.empty() ? "" : words[0];
    if (kind != "blk" && kind != "net") {
        std::cerr << usage;
        return 2;
    }
    const bool blk = kind == "blk";
    const Options options =
        parse({words.begin() + 1, words.end()}, blk ? Words{"domid", "vdev", "memory", "file"}
                                                    : Words{"domid", "index", "mac", "bridge"});
    const auto device = blk ? make_disk(options) : make_interface(options);
    if (!options.later)
        device->attach();
    std::cout << "ok ready" << std::endl;
    return serve(*device);
}

} // namespace

int main(int count, char **arguments)
{
    struct sigaction action {};
    action.sa_handler = [](int) { end_wanted = 1; };
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGHUP, &action, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    try {
        return run({arguments + 1, arguments + count});
    } catch (const std::exception &error) {
        std::cerr << "evilback: " << error.what() << std::endl;
        return 1;
    }
}
