// SPDX-License-Identifier: MIT OR GPL-2.0-only
// The simulated xenstored's contents: the tree, transactions, watches (docs/misc/xenstore.txt). The
// ring to the guest is in store_ring.cc. No permissions.
#include <algorithm>
#include <cstring>
#include <deque>
#include <map>

#include "internal.hpp"
#include "sim.hpp"
#include "xenstore_wire.hpp"

namespace sim {

namespace {

using Tree = std::map<std::string, std::string>;
using internal::StoreError;

struct Transaction {
    Tree tree;
    uint64_t generation; // of the store when it began
    std::vector<std::string> changes;
};

struct HostWatch {
    std::string path;
    std::function<void(const std::string &)> changed;
};

Tree tree;
uint64_t generation;
std::map<uint32_t, Transaction> transactions;
uint32_t next_transaction;
unsigned commits_to_fail;
store::Judge refusing;
std::map<unsigned, HostWatch> host_watches;
unsigned next_watch;
std::deque<std::pair<unsigned, std::string>> host_events;
std::vector<internal::TreeWatch> guest_watch_list;

bool below(const std::string &path, const std::string &top)
{
    return path == top || top == "/" ||
           (path.size() > top.size() && path.starts_with(top) && path[top.size()] == '/');
}

std::string parent(const std::string &path)
{
    const size_t slash = path.rfind('/');
    return slash == 0 ? "/" : path.substr(0, slash);
}

// What the guest is told: as it named the watch.
std::string as_seen(const internal::TreeWatch &watch, const std::string &path)
{
    return watch.relative ? path.substr(guest_home.size() + 1) : path;
}

void fire(const std::string &path)
{
    for (const auto &[id, watch] : host_watches) {
        if (below(path, watch.path))
            host_events.emplace_back(id, path);
    }
    for (const auto &watch : guest_watch_list) {
        if (below(path, watch.path))
            internal::queue_guest_event(as_seen(watch, path), watch.token);
    }
}

void put(Tree &into, const std::string &path, const std::string &value)
{
    for (std::string up = path; up != "/"; up = parent(up))
        into.try_emplace(up);
    into[path] = value;
}

std::vector<std::string> erase(Tree &from, const std::string &path)
{
    std::vector<std::string> gone;
    for (auto it = from.begin(); it != from.end();) {
        if (!below(it->first, path)) {
            ++it;
            continue;
        }
        gone.push_back(it->first);
        it = from.erase(it);
    }
    return gone;
}

std::vector<std::string> children(const Tree &of, const std::string &path)
{
    std::vector<std::string> names;
    for (const auto &[name, value] : of) {
        if (name != "/" && parent(name) == path)
            names.push_back(name.substr(path == "/" ? 1 : path.size() + 1));
    }
    return names;
}

void changed(const std::vector<std::string> &paths)
{
    ++generation;
    for (const auto &path : paths)
        fire(path);
}

// ---- the guest's requests ----

std::vector<uint8_t> bytes(const std::string &text) { return {text.begin(), text.end()}; }

// Takes a NUL-terminated string off the payload.
std::string take_string(const std::vector<uint8_t> &payload, size_t &at)
{
    const auto end = std::find(payload.begin() + static_cast<long>(at), payload.end(), 0);
    if (end == payload.end())
        throw StoreError{"EINVAL"};
    std::string text(payload.begin() + static_cast<long>(at), end);
    at += text.size() + 1;
    return text;
}

std::string absolute(const std::string &path)
{
    if (path == "/")
        return path;
    if (path.empty() || path.back() == '/' || path.find("//") != std::string::npos)
        throw StoreError{"EINVAL"};
    return path[0] == '/' ? path : guest_home + "/" + path;
}

std::vector<uint8_t> finish(uint32_t id, bool commit)
{
    const auto it = transactions.find(id);
    if (it == transactions.end())
        throw StoreError{"ENOENT"};
    Transaction transaction = std::move(it->second);
    transactions.erase(it);
    if (!commit)
        return bytes(std::string("OK\0", 3));
    if (commits_to_fail > 0 || transaction.generation != generation) {
        commits_to_fail -= commits_to_fail > 0;
        throw StoreError{"EAGAIN"};
    }
    tree = std::move(transaction.tree);
    changed(transaction.changes);
    return bytes(std::string("OK\0", 3));
}

std::vector<uint8_t> modify(uint32_t transaction, const std::string &path, const std::string *value)
{
    Transaction *inside = nullptr;
    if (transaction != 0) {
        const auto it = transactions.find(transaction);
        if (it == transactions.end())
            throw StoreError{"ENOENT"};
        inside = &it->second;
    }
    Tree &target = inside != nullptr ? inside->tree : tree;
    std::vector<std::string> paths{path};
    if (value != nullptr) {
        put(target, path, *value);
    } else {
        if (!target.contains(parent(path)))
            throw StoreError{"ENOENT"};
        paths = erase(target, path);
    }
    if (inside != nullptr)
        inside->changes.insert(inside->changes.end(), paths.begin(), paths.end());
    else
        changed(paths);
    return bytes(std::string("OK\0", 3));
}

const Tree &view(uint32_t transaction)
{
    if (transaction == 0)
        return tree;
    const auto it = transactions.find(transaction);
    if (it == transactions.end())
        throw StoreError{"ENOENT"};
    return it->second.tree;
}

std::vector<uint8_t> add_watch(const std::string &path, const std::string &token)
{
    const std::string full = path[0] == '@' ? path : absolute(path);
    for (const auto &watch : guest_watch_list) {
        if (watch.path == full && watch.token == token)
            throw StoreError{"EEXIST"};
    }
    guest_watch_list.push_back({full, path[0] != '/' && path[0] != '@', token});
    internal::queue_guest_event(path, token);
    return bytes(std::string("OK\0", 3));
}

std::vector<uint8_t> remove_watch(const std::string &path, const std::string &token)
{
    const std::string full = path[0] == '@' ? path : absolute(path);
    const auto erased = std::erase_if(guest_watch_list, [&](const auto &watch) {
        return watch.path == full && watch.token == token;
    });
    if (erased == 0)
        throw StoreError{"ENOENT"};
    return bytes(std::string("OK\0", 3));
}

} // namespace

namespace internal {

void boot_store()
{
    tree.clear();
    tree["/"] = "";
    put(tree, guest_home, "");
    generation = 0;
    transactions.clear();
    next_transaction = 1;
    commits_to_fail = 0;
    refusing = {};
    host_watches.clear();
    host_events.clear();
    guest_watch_list.clear();
}

bool step_store()
{
    if (host_events.empty())
        return false;
    for (size_t left = host_events.size(); left > 0; --left) {
        const auto [id, path] = host_events.front();
        host_events.pop_front();
        const auto it = host_watches.find(id);
        if (it == host_watches.end())
            continue;
        note_activity();
        const auto callback = it->second.changed; // it may remove itself
        callback(path);
    }
    return true;
}

void forget_guest()
{
    transactions.clear();
    next_transaction = 1;
    guest_watch_list.clear();
}

std::vector<uint8_t> guest_request(uint32_t type, uint32_t transaction,
                                   const std::vector<uint8_t> &payload)
{
    using xen::xenstore::Message;
    size_t at = 0;
    const std::string first = take_string(payload, at);
    if (const char *error = refusing ? refusing(static_cast<Message>(type), first) : nullptr)
        throw StoreError{error};
    switch (static_cast<Message>(type)) {
    case Message::directory: {
        const std::string path = absolute(first);
        if (!view(transaction).contains(path))
            throw StoreError{"ENOENT"};
        std::vector<uint8_t> reply;
        for (const auto &name : children(view(transaction), path)) {
            reply.insert(reply.end(), name.begin(), name.end());
            reply.push_back(0);
        }
        if (reply.size() > xen::xenstore::payload_max)
            throw StoreError{"E2BIG"};
        return reply;
    }
    case Message::read: {
        const auto it = view(transaction).find(absolute(first));
        if (it == view(transaction).end())
            throw StoreError{"ENOENT"};
        return bytes(it->second);
    }
    case Message::write: {
        const std::string value(payload.begin() + static_cast<long>(at), payload.end());
        return modify(transaction, absolute(first), &value);
    }
    case Message::rm:
        return modify(transaction, absolute(first), nullptr);
    case Message::watch:
        return add_watch(first, take_string(payload, at));
    case Message::unwatch:
        return remove_watch(first, take_string(payload, at));
    case Message::transaction_start: {
        transactions[next_transaction] = {tree, generation, {}};
        const std::string id = std::to_string(next_transaction++);
        return bytes(id + '\0');
    }
    case Message::transaction_end:
        if (first != "T" && first != "F")
            throw StoreError{"EINVAL"};
        return finish(transaction, first == "T");
    default:
        throw StoreError{"ENOSYS"};
    }
}

} // namespace internal

namespace store {

std::optional<std::string> read(const std::string &path)
{
    const auto it = tree.find(path);
    if (it == tree.end())
        return {};
    return it->second;
}

void write(const std::string &path, const std::string &value)
{
    put(tree, path, value);
    changed({path});
}

void remove(const std::string &path) { changed(erase(tree, path)); }
std::vector<std::string> list(const std::string &path) { return children(tree, path); }

unsigned watch(const std::string &path, std::function<void(const std::string &)> on_change)
{
    const unsigned id = ++next_watch;
    host_watches[id] = {path, std::move(on_change)};
    host_events.emplace_back(id, path);
    return id;
}

void unwatch(unsigned id) { host_watches.erase(id); }
unsigned guest_transactions() { return static_cast<unsigned>(transactions.size()); }
unsigned guest_watches() { return static_cast<unsigned>(guest_watch_list.size()); }
void fail_commits(unsigned count) { commits_to_fail = count; }
void refuse(Judge judge) { refusing = std::move(judge); }

} // namespace store

} // namespace sim
