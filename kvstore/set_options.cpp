#include "kvstore/set_options.hpp"

#include <algorithm>
#include <limits>

#include "kvstore/command.hpp"

namespace sluice::kvstore {

namespace {

using condition = set_options::condition;
using lifetime = set_options::lifetime;

struct time_option {
    std::string_view name;
    expiry_form form;
};
constexpr time_option time_options[] = {
    {"ex", expiry_form::seconds},
    {"px", expiry_form::milliseconds},
    {"exat", expiry_form::second_of_epoch},
    {"pxat", expiry_form::ms_of_epoch},
};

bool take_condition(condition what, set_options& out) noexcept {
    if (out.only_if != condition::none && out.only_if != what) return false;
    out.only_if = what;
    return true;
}

bool take_lifetime(lifetime what, set_options& out) noexcept {
    if (out.life != lifetime::unsaid && out.life != what) return false;
    out.life = what;
    return true;
}

bool take_flag(std::string_view option, takes_options which, set_options& out) noexcept {
    const auto is = [&](std::string_view name) { return equals_in_any_case(option, name); };
    if (which == takes_options::of_getex) {
        return is("persist") && take_lifetime(lifetime::persist, out);
    }
    if (is("nx")) return take_condition(condition::absent, out);
    if (is("xx")) return take_condition(condition::present, out);
    if (is("keepttl")) return take_lifetime(lifetime::keep, out);
    out.get = out.get || is("get");
    return is("get");
}

}  // namespace

bool parse_set_options(std::span<const std::string_view> options, takes_options which,
                       set_options& out) noexcept {
    for (std::size_t i = 0; i < options.size(); ++i) {
        const auto* const timed =
            std::find_if(std::begin(time_options), std::end(time_options),
                         [&](const auto& one) { return equals_in_any_case(options[i], one.name); });
        if (timed == std::end(time_options)) {
            if (!take_flag(options[i], which, out)) return false;
            continue;
        }
        const bool differs = out.life == lifetime::given && out.form != timed->form;
        if (differs || i + 1 == options.size() || !take_lifetime(lifetime::given, out)) {
            return false;
        }
        out.form = timed->form;
        out.time = options[++i];
    }
    return true;
}

std::optional<time_ms> expiry_time(std::int64_t given, expiry_form form, time_ms now) noexcept {
    constexpr auto most = std::numeric_limits<std::int64_t>::max();
    if (given <= 0) return std::nullopt;
    if (form == expiry_form::seconds || form == expiry_form::second_of_epoch) {
        if (given > most / 1000) return std::nullopt;
        given *= 1000;
    }
    if (form == expiry_form::seconds || form == expiry_form::milliseconds) {
        if (given > most - now) return std::nullopt;
        given += now;
    }
    return std::min(given, never - 1);
}

}  // namespace sluice::kvstore
