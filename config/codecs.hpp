// One small type for each kind of value: its name in the reference, how it is read from text, how
// it is shown, and what an error says was expected. The rows of fields.cpp are made of them.
// read() throws bad_value. Lists append in read(); is_list tells the loader to clear first.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "config/address.hpp"
#include "config/error.hpp"
#include "config/names.hpp"
#include "config/units.hpp"
#include "config/verifier.hpp"

namespace sluice::config {

// How the loader has to treat a value.
struct value_traits {
    bool is_list = false;
    bool is_secret = false;  // never shown, in errors neither
};

template <std::uint32_t Min, std::uint32_t Max, class Value = std::uint32_t>
struct count {
    using value = Value;
    static constexpr std::string_view name = "number";
    static constexpr value_traits traits{};
    static std::string expected() { return expected_count(Min, Max); }
    static void read(std::string_view text, value& out) { out = parse_count(text, Min, Max); }
    static std::string show(const value& in) { return std::to_string(in); }
};

// Zero, which stands for one thread a core, is written "auto".
struct thread_count {
    using value = std::uint32_t;
    static constexpr std::uint32_t most = 1024;
    static constexpr std::string_view name = "number or `auto`";
    static constexpr value_traits traits{};
    static std::string expected() { return "auto or " + expected_count(1, most); }
    static void read(std::string_view text, value& out) {
        try {
            out = text == "auto" ? 0 : parse_count(text, 1, most);
        } catch (const bad_value&) {
            throw bad_value(expected());
        }
    }
    static std::string show(const value& in) { return in == 0 ? "auto" : std::to_string(in); }
};

struct duration {
    using value = milliseconds;
    static constexpr std::string_view name = "duration";
    static constexpr value_traits traits{};
    static std::string expected() { return expected_duration(); }
    static void read(std::string_view text, value& out) { out = parse_duration(text); }
    static std::string show(const value& in) { return show_duration(in); }
};

// Where zero would mean "without a pause" rather than "off".
struct interval : duration {
    static std::string expected() { return expected_interval(); }
    static void read(std::string_view text, value& out) {
        value parsed{};
        try {
            parsed = parse_duration(text);
        } catch (const bad_value&) {
            throw bad_value(expected());
        }
        if (parsed == 0ms) throw bad_value(expected());
        out = parsed;
    }
};

// Min is 0 where zero stands for "no limit"; Max 0: no bound of its own.
template <std::uint64_t Min, std::uint64_t Max = 0>
struct byte_size {
    using value = std::uint64_t;
    static constexpr std::string_view name = "size";
    static constexpr value_traits traits{};
    static std::string expected() {
        auto out = expected_size();
        if (Min > 0) out += ", at least " + show_size(Min);
        if (Max > 0) out += ", at most " + show_size(Max);
        return out;
    }
    static void read(std::string_view text, value& out) {
        value parsed = 0;
        try {
            parsed = parse_size(text);
        } catch (const bad_value&) {
            throw bad_value(expected());
        }
        if (parsed < Min || (Max > 0 && parsed > Max)) throw bad_value(expected());
        out = parsed;
    }
    static std::string show(const value& in) { return show_size(in); }
};

// The kernel takes keepalive times in seconds, up to 32767 of them.
struct kernel_seconds {
    using value = milliseconds;
    static constexpr std::string_view name = "duration";
    static constexpr value_traits traits{};
    static std::string expected() { return "a duration in whole seconds from 1s to 32767s, or 0"; }
    static void read(std::string_view text, value& out) {
        value parsed{};
        try {
            parsed = parse_duration(text);
        } catch (const bad_value&) {
            throw bad_value(expected());
        }
        if (parsed % 1s != 0ms || parsed > 32767s) throw bad_value(expected());
        out = parsed;
    }
    static std::string show(const value& in) { return show_duration(in); }
};

struct on_off {
    using value = bool;
    static constexpr std::string_view name = "switch";
    static constexpr value_traits traits{};
    static std::string expected() { return expected_switch(); }
    static void read(std::string_view text, value& out) { out = parse_switch(text); }
    static std::string show(const value& in) { return in ? "true" : "false"; }
};

struct plain_text {
    using value = std::string;
    static constexpr std::string_view name = "text";
    static constexpr value_traits traits{};
    static std::string expected() { return "a text"; }
    static void read(std::string_view text, value& out) { out = text; }
    static std::string show(const value& in) { return in.empty() ? "none" : in; }
};

struct file_path {
    using value = std::string;
    static constexpr std::string_view name = "file";
    static constexpr value_traits traits{};
    static std::string expected() { return "the path of a file"; }
    static void read(std::string_view text, value& out) {
        if (text.empty()) throw bad_value(expected());
        out = text;
    }
    static std::string show(const value& in) { return in.empty() ? "none" : in; }
};

struct directory_path : file_path {
    static constexpr std::string_view name = "directory";
    static std::string expected() { return "the path of a directory"; }
    static void read(std::string_view text, value& out) {
        if (text.empty()) throw bad_value(expected());
        out = text;
    }
};

struct connection_string {
    using value = std::string;
    static constexpr std::string_view name = "secret text";
    static constexpr value_traits traits{.is_secret = true};
    static std::string expected() {
        return "a libpq connection string (without the key, libpq's own defaults are used)";
    }
    static void read(std::string_view text, value& out) {
        if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
            throw bad_value(expected());
        }
        out = text;
    }
    static std::string show(const value& in) { return in.empty() ? "none" : "set"; }
};

struct password {
    using value = std::string;
    static constexpr std::string_view name = "secret text";
    static constexpr value_traits traits{.is_secret = true};
    static std::string expected() { return "a password or a SCRAM-SHA-256 verifier"; }
    static void read(std::string_view text, value& out) {
        if (text.empty()) throw bad_value(expected());
        check_password(text);
        out = text;
    }
    static std::string show(const value& in) { return in.empty() ? "none" : "set"; }
};

// What fits into a header line of HTTP as it is.
struct access_token {
    using value = std::string;
    static constexpr std::string_view name = "secret text";
    static constexpr value_traits traits{.is_secret = true};
    static std::string expected() { return "letters, digits and signs without spaces"; }
    static void read(std::string_view text, value& out);
    static std::string show(const value& in) { return in.empty() ? "none" : "set"; }
};

template <class Enum>
struct choice {
    using value = Enum;
    static constexpr std::string_view name = "choice";
    static constexpr value_traits traits{};
    static std::string expected() {
        std::string out = "one of ";
        for (const auto& [one, word] : names_of<Enum>) {
            if (one != names_of<Enum>.front().first) out += ", ";
            out += word;
        }
        return out;
    }
    static void read(std::string_view text, value& out) {
        for (const auto& [one, word] : names_of<Enum>) {
            if (word == text) {
                out = one;
                return;
            }
        }
        if (std::is_same_v<Enum, auth_type> && text == "md5") {
            throw bad_value("scram-sha-256 (MD5 is not supported; every client knows SCRAM)");
        }
        throw bad_value(expected());
    }
    static std::string show(const value& in) { return std::string(name_of(in)); }
};

// Joins with ", ", as the reference shows lists.
template <class Item, class Show>
std::string show_list(const std::vector<Item>& items, Show show) {
    std::string out;
    for (const auto& item : items) {
        if (!out.empty()) out += ", ";
        out += show(item);
    }
    return out.empty() ? "none" : out;
}

struct address_list {
    using value = std::vector<listen_address>;
    static constexpr std::string_view name = "list of addresses";
    static constexpr value_traits traits{.is_list = true};
    static std::string expected() { return expected_address(); }
    static void read(std::string_view text, value& out) { out.push_back(parse_address(text)); }
    static std::string show(const value& in) { return show_list(in, show_address); }
};

// HTTP and RESP are not spoken on unix sockets. Port: the one that examples name.
template <std::uint32_t Port>
struct tcp_address_list : address_list {
    static std::string expected() {
        const auto port = std::to_string(Port);
        return "host:port with a port from 1 to 65535, e.g. 127.0.0.1:" + port + " or *:" + port +
               " (all addresses)";
    }
    static void read(std::string_view text, value& out) {
        try {
            out.push_back(parse_address(text));
        } catch (const bad_value&) {
            throw bad_value(expected());
        }
        if (out.back().type != listen_address::kind::tcp) throw bad_value(expected());
    }
};

struct name_list {
    using value = std::vector<std::string>;
    static constexpr std::string_view name = "list of names";
    static constexpr value_traits traits{.is_list = true};
    static std::string expected() { return "a user name"; }
    static void read(std::string_view text, value& out) {
        if (text.empty()) throw bad_value(expected());
        out.emplace_back(text);
    }
    static std::string show(const value& in) {
        return show_list(in, [](const std::string& one) { return one; });
    }
};

// Redis's names of commands, which no one writes in one case: kept in small letters.
struct command_list : name_list {
    static constexpr std::string_view name = "list of commands";
    static std::string expected() { return "the name of a command, e.g. flushall"; }
    static void read(std::string_view text, value& out);
};

// What follows `projects:` of a user of the key-value port. Both members are its value.
struct project_list {
    static constexpr std::string_view name = "list of numbers or `all`";
    static constexpr value_traits traits{.is_list = true};
    static constexpr std::uint32_t most = 2147483647;
    static std::string expected() {
        return "all, or " + expected_count(0, most) + " for each project";
    }
    static void read(std::string_view text, kv_user_settings& out);
    static std::string show(const kv_user_settings& in) {
        if (in.all_projects) return "all";
        return show_list(in.projects, [](std::uint32_t one) { return std::to_string(one); });
    }
};

}  // namespace sluice::config
