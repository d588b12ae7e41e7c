#include "kvstore/access.hpp"

#include <algorithm>

#include "protocol/scram_verifier.hpp"

namespace sluice::kvstore {

bool user::may_open(project_id id) const noexcept {
    return all_projects || std::binary_search(projects.begin(), projects.end(), id);
}

std::string user::described() const {
    std::string out = "user " + name + " on";
    out += password.empty() ? " nopass" : " #<password>";
    if (all_projects) {
        out += " projects:all";
    } else {
        out += " projects:";
        for (const auto id : projects) {
            if (out.back() != ':') out += ',';
            out += std::to_string(id);
        }
    }
    return out + " +@all";
}

access_list::access_list(const std::map<std::string, config::kv_user_settings>& users) {
    for (const auto& [name, settings] : users) {
        user one{name, settings.password, settings.all_projects, settings.projects};
        std::sort(one.projects.begin(), one.projects.end());
        users_.emplace(name, std::move(one));
    }
    if (users_.empty()) {
        const auto at = users_.emplace("default", user{"default", {}, true, {}}).first;
        initial_ = &at->second;
    }
}

const user* access_list::find(std::string_view name) const noexcept {
    const auto at = users_.find(name);
    return at == users_.end() ? nullptr : &at->second;
}

access_list::answer access_list::check(const user* who, std::string_view password) {
    if (who == nullptr) return answer::wrong;
    if (who->password.empty()) return answer::right;  // `nopass`: any will do
    if (protocol::parse_verifier(who->password)) return answer::slow;
    return protocol::same_password(who->password, password) ? answer::right : answer::wrong;
}

bool access_list::matches_verifier(std::string_view verifier, std::string_view password) {
    const auto parsed = protocol::parse_verifier(verifier);
    return parsed && protocol::verify_password(password, *parsed);
}

}  // namespace sluice::kvstore
