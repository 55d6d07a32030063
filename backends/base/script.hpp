// SPDX-License-Identifier: MIT OR GPL-2.0-only
// What to lie about, and when: "at response 3 id=0xffffffff". Each stream of messages of a backend
// has one script, which counts them from the moment a lie was ordered.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/xen.hpp"

namespace backends {

using Words = std::vector<std::string>;

inline Words split(const std::string &text, char separator = ' ')
{
    Words words;
    for (size_t start = 0; start <= text.size();) {
        const size_t end = std::min(text.find(separator, start), text.size());
        if (end > start)
            words.push_back(text.substr(start, end - start));
        start = end + 1;
    }
    return words;
}

// Decimal, 0x..., or negative.
inline int64_t parse_number(const std::string &text)
{
    size_t used = 0;
    int64_t value = 0;
    try {
        value = text.starts_with('-') ? std::stoll(text, &used, 0)
                                      : static_cast<int64_t>(std::stoull(text, &used, 0));
    } catch (const std::exception &) {
        used = 0;
    }
    if (used == 0 || used != text.size())
        throw Failure("\"" + text + "\" is not a number");
    return value;
}

// The fields of one message that are not as they should be. A word without a value counts as 1.
class Lie {
public:
    void set(const std::string &word)
    {
        const size_t equals = word.find('=');
        const bool flag = equals == std::string::npos;
        fields_[word.substr(0, equals)] = flag ? 1 : parse_number(word.substr(equals + 1));
    }
    bool has(const std::string &field) const { return fields_.count(field) != 0; }
    // The field's false value, or the true one.
    int64_t get(const std::string &field, int64_t truth) const
    {
        const auto found = fields_.find(field);
        return found == fields_.end() ? truth : found->second;
    }
    const std::map<std::string, int64_t> &fields() const { return fields_; }

private:
    std::map<std::string, int64_t> fields_;
};

class Script {
public:
    explicit Script(Words fields) : fields_(std::move(fields)) {}

    // words: N or "every", then fields.
    void add(const Words &words)
    {
        if (words.size() < 2)
            throw Failure("at STREAM N|every FIELD[=VALUE]...");
        const bool every = words[0] == "every";
        const int64_t distance = every ? 1 : parse_number(words[0]);
        if (distance < 1)
            throw Failure("messages count from 1");
        Lie lie;
        for (size_t i = 1; i < words.size(); ++i)
            lie.set(words[i]);
        for (const auto &[field, value] : lie.fields())
            if (std::find(fields_.begin(), fields_.end(), field) == fields_.end())
                throw Failure("no field \"" + field + "\" here");
        if (every)
            always_ = lie;
        else
            once_[count_ + static_cast<uint64_t>(distance)] = lie;
    }

    void clear()
    {
        once_.clear();
        always_.reset();
    }

    // The lie for the next message.
    Lie next()
    {
        const auto found = once_.find(++count_);
        if (found == once_.end())
            return always_.value_or(Lie());
        Lie lie = found->second;
        once_.erase(found);
        return lie;
    }

private:
    Words fields_;
    std::map<uint64_t, Lie> once_;
    std::optional<Lie> always_;
    uint64_t count_ = 0;
};

} // namespace backends
