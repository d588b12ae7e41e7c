// Who may open what on the key-value port. Immutable; replaced as a whole by a reload.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/schema.hpp"
#include "kvstore/change.hpp"

namespace sluice::kvstore {

struct user {
    std::string name;
    std::string password;  // plain or a SCRAM-SHA-256 verifier; empty: none is asked for
    bool all_projects = false;
    std::vector<project_id> projects;  // sorted; otherwise these

    [[nodiscard]] bool may_open(project_id id) const noexcept;
    // As ACL LIST shows it, without the password.
    [[nodiscard]] std::string described() const;
};

class access_list {
  public:
    // Without users everybody is `default` and may open everything (on loopback: protected mode).
    explicit access_list(const std::map<std::string, config::kv_user_settings>& users);

    [[nodiscard]] const user* find(std::string_view name) const noexcept;
    // The user of clients that have not authenticated; null: they have to.
    [[nodiscard]] const user* initial() const noexcept { return initial_; }
    [[nodiscard]] const std::map<std::string, user, std::less<>>& users() const noexcept {
        return users_;
    }

    enum class answer { right, wrong, slow };
    // slow: a verifier, which takes milliseconds; ask matches_verifier() on another thread.
    [[nodiscard]] static answer check(const user* who, std::string_view password);
    [[nodiscard]] static bool matches_verifier(std::string_view verifier,
                                               std::string_view password);

  private:
    std::map<std::string, user, std::less<>> users_;
    const user* initial_ = nullptr;
};

}  // namespace sluice::kvstore
