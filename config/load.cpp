#include "config/load.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <span>
#include <type_traits>
#include <utility>

#include "config/document.hpp"
#include "config/expand.hpp"
#include "config/fields.hpp"
#include "config/suggest.hpp"
#include "config/validate.hpp"

namespace sluice::config {

namespace {

using kind = node::kind;

constexpr std::string_view reference_page = "a key of docs/configuration.md";

// Sections of the configuration whose feature this version lacks. A file that has them loads.
struct absent_section {
    std::string_view key;
    std::string_view feature;
};
constexpr std::array absent_sections{absent_section{"gateway", "the HTTP gateway"}};

constexpr std::array map_keys{databases_key, users_key, kv_users_key, monitoring_users_key};

class loader {
  public:
    loader(std::string file_name, const environment& env, url_check usable)
        : file_(std::move(file_name)), env_(env), usable_(usable) {}

    loaded load(const node& root) {
        if (root.type != kind::nothing) {
            read_section(root, {}, {}, global_fields(), out_.settings);
        }
        if (const auto found = find_mistake(out_.settings)) {
            const auto line = out_.line_of(found->key);
            fail(line > 0 ? line : out_.line_of(found->related), found->key, found->found,
                 found->expected);
        }
        check_urls();
        for (auto& doubt : find_doubts(out_.settings))
            out_.warnings.push_back(std::move(doubt));
        return std::move(out_);
    }

  private:
    void check_urls() const {
        if (usable_ == nullptr) return;
        for (const auto& [name, database] : out_.settings.postgres.databases) {
            if (usable_(database.url)) continue;
            const auto key = "postgres.databases." + name + ".url";
            fail(out_.line_of(key), key, "a value that libpq does not understand",
                 "a connection string: postgresql://user:password@host:port/database or key=value");
        }
    }
    [[noreturn]] void fail(int line, const std::string& path, std::string found,
                           std::string expected) const {
        throw config_error(file_, line, path, std::move(found), std::move(expected));
    }

    // `inner` is the path below the owner, as the rows have it; `path` the one from the top.
    template <class Owner>
    void read_section(const node& section, const std::string& inner, const std::string& path,
                      std::span<const field<Owner>> fields, Owner& owner) {
        if (section.type == kind::nothing) return;  // all its keys are commented out
        if (section.type != kind::mapping) {
            fail(section.line, path, std::string(kind_name(section.type)),
                 path.empty() ? "a mapping of keys to values" : "a mapping of keys below it");
        }
        for (const auto& [key, line, value] : section.members) {
            const auto inner_key = inner.empty() ? key : inner + "." + key;
            const auto full_path = key_path(path, key);
            out_.lines.emplace(full_path, line);
            if (key.find('.') != std::string::npos) {  // the rows' dots are levels, not names
                fail(line, full_path, "an unknown key", expected_key(key, inner, fields));
            }
            if constexpr (std::is_same_v<Owner, settings>) {
                if (read_map(inner_key, value, full_path)) continue;
            }
            const auto row = std::find_if(fields.begin(), fields.end(),
                                          [&](const auto& one) { return one.key == inner_key; });
            if (row != fields.end()) {
                read_value(*row, value, full_path, owner);
            } else if (is_section(inner_key, fields)) {
                read_section(value, inner_key, full_path, fields, owner);
            } else {
                fail(line, full_path, "an unknown key", expected_key(key, inner, fields));
            }
        }
    }

    template <class Owner>
    static bool is_section(const std::string& inner_key, std::span<const field<Owner>> fields) {
        return std::any_of(fields.begin(), fields.end(), [&](const auto& row) {
            return row.key.size() > inner_key.size() && row.key.starts_with(inner_key) &&
                   row.key[inner_key.size()] == '.';
        });
    }

    // The parts that are no fields: maps by name, and what this version lacks.
    bool read_map(const std::string& inner_key, const node& value, const std::string& path) {
        if (inner_key == databases_key) {
            read_entries(value, path, database_fields(), out_.settings.postgres.databases);
            return true;
        }
        if (inner_key == users_key) {
            read_entries(value, path, user_fields(), out_.settings.postgres.users.emplace());
            return true;
        }
        if (inner_key == kv_users_key) {
            read_entries(value, path, kv_user_fields(), out_.settings.kv.users);
            return true;
        }
        if (inner_key == monitoring_users_key) {
            read_entries(value, path, monitoring_user_fields(), out_.settings.monitoring.users);
            return true;
        }
        for (const auto& absent : absent_sections) {
            if (inner_key != absent.key) continue;
            out_.warnings.push_back(path + ": " + std::string(absent.feature) +
                                    " is not part of this version; the section is ignored");
            return true;
        }
        return false;
    }

    template <class Entry>
    void read_entries(const node& map, const std::string& path,
                      std::span<const field<Entry>> fields, std::map<std::string, Entry>& out) {
        if (map.type != kind::mapping) {
            fail(map.line, path, std::string(kind_name(map.type)),
                 "a mapping of names ({} for none)");
        }
        for (const auto& [name, line, value] : map.members) {
            const auto entry_path = key_path(path, name);
            out_.lines.emplace(entry_path, line);
            if (name.empty()) fail(line, entry_path, "an empty name", "a name");
            read_section(value, {}, entry_path, fields, out[name]);
        }
    }

    template <class Owner>
    void read_value(const field<Owner>& row, const node& value, const std::string& path,
                    Owner& owner) {
        const auto expected = [&] {
            return row.traits.is_list ? "a list; each item " + row.expected() : row.expected();
        };
        if (!row.traits.is_list || value.type != kind::list) {
            if (value.type != kind::scalar) {
                fail(value.line, path, std::string(kind_name(value.type)), expected());
            }
            row.clear(owner);
            read_scalar(row, value, path, owner);
            return;
        }
        row.clear(owner);
        for (std::size_t i = 0; i < value.items.size(); ++i) {
            const auto& item = value.items[i];
            const auto at = item_path(path, i);
            out_.lines.emplace(at, item.line);
            if (item.type != kind::scalar) {
                fail(item.line, at, std::string(kind_name(item.type)), row.expected());
            }
            read_scalar(row, item, at, owner);
        }
    }

    template <class Owner>
    void read_scalar(const field<Owner>& row, const node& value, const std::string& path,
                     Owner& owner) {
        expanded_text expanded;
        try {
            expanded = expand(value.text, env_);
            if (expanded.text.find('\0') != std::string::npos) {
                fail(value.line, path, "a zero byte", "text without one");
            }
            row.read(owner, expanded.text);
        } catch (const expand_error& error) {
            fail(value.line, path, error.found, error.what());
        } catch (const bad_value& error) {
            fail(value.line, path, shown(row.traits, value.text, expanded.from_outside),
                 error.what());
        }
    }

    static std::string shown(const value_traits& traits, const std::string& text, bool outside) {
        if (traits.is_secret) return "a value that is not shown, since it may be secret";
        return quoted(text) + (outside ? " with a value that is not shown" : "");
    }

    template <class Owner>
    static std::string expected_key(const std::string& key, const std::string& inner,
                                    std::span<const field<Owner>> fields) {
        const auto prefix = inner.empty() ? inner : inner + ".";
        std::vector<std::string_view> here;
        for (const auto& row : fields) {
            if (!row.key.starts_with(prefix)) continue;
            const auto rest = row.key.substr(prefix.size());
            here.push_back(rest.substr(0, rest.find('.')));
        }
        if constexpr (std::is_same_v<Owner, settings>) {
            for (const auto name : map_keys) {
                if (name.substr(0, name.rfind('.') + 1) == prefix) {
                    here.push_back(name.substr(prefix.size()));
                }
            }
            if (prefix.empty()) {
                for (const auto& absent : absent_sections)
                    here.push_back(absent.key);
            }
        }
        auto hint = std::string(renamed_setting(key));
        if (hint.empty()) hint = nearest(key, here);
        if (hint.empty()) hint = elsewhere(key);
        return std::string(reference_page) + (hint.empty() ? "" : "; did you mean " + hint + "?");
    }

    // The full path of a key that exists in another section.
    static std::string elsewhere(const std::string& key) {
        for (const auto& row : global_fields()) {
            if (row.key.ends_with("." + key)) return std::string(row.key);
        }
        for (const auto name : map_keys) {
            if (name.ends_with("." + key)) return std::string(name);
        }
        return {};
    }

    const std::string file_;
    const environment& env_;
    url_check usable_;
    loaded out_;
};

}  // namespace

int loaded::line_of(std::string path) const {
    for (;;) {
        if (const auto at = lines.find(path); at != lines.end()) return at->second;
        const auto cut = path.find_last_of(".[");
        if (cut == std::string::npos) return 0;
        path.resize(cut);
    }
}

loaded load_text(std::string_view yaml, std::string file_name, const environment& env,
                 url_check usable) {
    const auto root = parse_document(yaml, file_name);
    return loader(std::move(file_name), env, usable).load(root);
}

loaded load_file(const std::string& path, const environment& env, url_check usable) {
    const auto file = env.read_file(path);
    if (file.error) {
        throw config_error(path, 0, {}, "no readable file (" + file.error.message() + ")",
                           "a configuration file");
    }
    return load_text(file.text, path, env, usable);
}

}  // namespace sluice::config
