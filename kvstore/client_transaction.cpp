// The client's side of EXEC: what its commands need before the first of them is run. Projects that
// they name have to be in memory and held, and passwords that they log in with have to be checked.
#include <algorithm>

#include "kvstore/client.hpp"
#include "kvstore/login.hpp"
#include "kvstore/numbers.hpp"

namespace sluice::kvstore {

// Goes over the queued commands as they are going to be run: in which project, by which user.
void client::go_over_queued(const call& what, const queued_call& each) const {
    auto at = selected;
    const auto* by = who;
    for (std::size_t i = 0; i < transaction.commands.size(); ++i) {
        const auto& command = transaction.commands[i];
        const std::vector<std::string_view> args(command.begin(), command.end());
        const auto* const row = find_called(args);
        if (row == nullptr) continue;
        if (const auto words = login_of(args, *what.in.access)) {
            const auto* const other = what.in.access->find(words->name);
            auto answer = access_list::check(other, words->password);
            if (answer == access_list::answer::slow) answer = checked(transaction, i, *other);
            if (answer == access_list::answer::right &&
                !certificate_is_of_another(what, words->name)) {
                by = other;
                if (!by->all_projects && by->projects.size() == 1) at = by->projects[0];
            }
        }
        project_id next = 0;
        if (row->name == "select" && parse_whole(args[1], next) && next <= most_project_id)
            at = next;
        each(args, *row, at, *by);
    }
}

access_list::answer client::checked(const transaction_state& in, std::size_t number,
                                    const user& of) {
    const auto found = std::lower_bound(
        in.logins.begin(), in.logins.end(), number,
        [](const checked_login& one, std::size_t wanted) { return one.command < wanted; });
    if (found == in.logins.end() || found->command != number || found->verifier != of.password ||
        !found->check->done.load(std::memory_order_acquire)) {
        return access_list::answer::slow;
    }
    return found->check->error.empty() ? access_list::answer::right : access_list::answer::wrong;
}

// One after the other: EXEC is run again after each.
client::step client::check_logins(call& what) {
    for (std::size_t i = 0; i < transaction.commands.size(); ++i) {
        const auto& command = transaction.commands[i];
        const std::vector<std::string_view> args(command.begin(), command.end());
        const auto words = login_of(args, *what.in.access);
        if (!words) continue;
        const auto* const of = what.in.access->find(words->name);
        if (access_list::check(of, words->password) != access_list::answer::slow ||
            checked(transaction, i, *of) != access_list::answer::slow) {
            continue;
        }
        auto& logins = transaction.logins;
        // A reload may have brought another verifier, or others in front of it.
        const auto here = std::lower_bound(
            logins.begin(), logins.end(), i,
            [](const checked_login& one, std::size_t wanted) { return one.command < wanted; });
        if (here != logins.end() && here->command == i && here->verifier == of->password) {
            await(here->check);
            return step::again;
        }
        logins.erase(here, logins.end());
        logins.push_back(
            {i, of->password,
             what.in.outside.start_check(of->password, std::string(words->password), *waker)});
        await(logins.back().check);
        return step::again;
    }
    return step::done;
}

client::step client::hold_for_transaction(call& what) {
    const auto logins = check_logins(what);
    if (logins != step::done) return logins;
    std::vector<project_id> ids;
    for (const auto& one : watched) {
        if (is_control || who->may_open(one.in->id())) ids.push_back(one.in->id());
    }
    bool everyone = false;
    std::vector<project_id> wanted;
    go_over_queued(what, [&](std::span<const std::string_view> args, const command& row,
                             project_id at, const user& by) {
        everyone = everyone || row.has(flag::everyone | flag::counts);
        wanted.clear();
        if (row.has(flag::data)) wanted.push_back(at);
        if (row.has(flag::several)) add_named(args, row, wanted);
        for (const auto id : wanted) {
            if (is_control || by.may_open(id)) ids.push_back(id);
        }
    });
    hold_several(ids, what);
    const auto went = bring(what);
    if (!everyone || went != step::done) return went;
    // Between the two some may have left memory: then it begins anew.
    const auto brought = what.in.changes.held();
    what.in.changes.hold_all();
    for (const auto& one : brought) {
        if (one->state == project::residence::resident &&
            what.in.changes.held(one->id()) == one.get()) {
            continue;
        }
        stopped_by_ = wants::turn_over;
        return step::again;
    }
    return step::done;
}

std::uint64_t client::room_for_copies(const call& what) const {
    std::uint64_t out = 0;
    go_over_queued(what, [&](std::span<const std::string_view> args, const command& row,
                             project_id at, const user&) {
        if (!row.has(flag::several)) return;
        if (row.name == "swapdb") {
            std::vector<project_id> both;
            add_named(args, row, both);
            for (const auto id : both) {
                const auto* const one = what.in.changes.held(id);
                if (one != nullptr) out += one->bytes() + one->keys() * 64;
            }
        } else if (auto* const from = what.in.changes.held(at)) {
            const auto* const found = from->find(args[1], what.in.now);
            if (found != nullptr) out += found->value_size() + 2 * args[1].size() + 128;
        }
    });
    return out;
}

}  // namespace sluice::kvstore
