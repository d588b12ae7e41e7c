"""Makes the manual pages and the shell completions from what `sluice describe` prints.

    sluice describe | pages.py VERSION DIRECTORY

What no program can know stands in man/*.in, with @COMMANDS@ or @KEYS@ where the tables go.
Writes sluice.1, sluice.yaml.5, sluice.bash, _sluice (zsh) and sluice.fish.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass
class Option:
    names: list
    type: str
    text: str

    @property
    def values(self):
        found = re.search(r"\{([^}]*)\}", self.type)
        return found[1].split(",") if found else []

    @property
    def kind(self):
        """What the shell offers: nothing, files, directories or values."""
        plain = self.type.split(":")[0]
        if self.values:
            return "values"
        if plain in ("FILE", "BACKUP") or "--config" in self.names:
            return "files"
        return "directories" if plain == "DIR" else ""

    @property
    def value_name(self):
        if self.values:
            return "|".join(self.values)
        return "FILE" if self.kind == "files" and self.type != "BACKUP" else self.type.split(":")[0]


@dataclass
class Command:
    path: str
    text: str
    options: list = field(default_factory=list)
    positionals: list = field(default_factory=list)  # (name, is required, Option)
    children: list = field(default_factory=list)

    @property
    def name(self):
        return self.path.split()[-1]


def read(lines):
    """The commands by path, in order, and the rows of the configuration."""
    commands, keys = {}, []
    for line in lines:
        row, *cells = line.rstrip("\n").split("\t")
        if row == "command":
            command = Command(*cells)
            commands[command.path] = command
            parent = command.path.rpartition(" ")[0]
            if parent:
                commands[parent].children.append(command)
        elif row == "option":
            path, names, kind, text = cells
            commands[path].options.append(Option(names.split(","), kind, text))
        elif row == "positional":
            path, name, required, kind, text = cells
            commands[path].positionals.append((name, required == "required",
                                               Option([name], kind, text)))
        elif row == "key":
            keys.append(cells)
    return commands, keys


# Manual pages.

def roff(text):
    """Text as roff; what stands between backticks is bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return "\\&" + text if text.startswith((".", "'")) else text


def bold(text):
    return roff("`" + text + "`")


def usage(command):
    # A group of commands has nothing to run by itself.
    parts = [bold(command.path)]
    if any(option.names != ["-h", "--help"] for option in command.options):
        parts.append("[\\fIoptions\\fR]")
    for name, required, _ in command.positionals:
        shown = f"\\fI{roff(name)}\\fR"
        parts.append(shown if required else f"[{shown}]")
    return " ".join(parts)


def commands_page(commands):
    out = []
    for command in commands.values():
        if command.children:
            continue
        out += [".TP", usage(command), roff(command.text[:1].upper() + command.text[1:]) + "."]
        shown = [option for option in command.options if "--help" not in option.names]
        entries = [(", ".join(bold(name) for name in option.names), option) for option in shown]
        entries += [(f"\\fI{roff(name)}\\fR", option) for name, _, option in command.positionals]
        if entries:
            out.append(".RS")
        for names, option in entries:
            takes = option.type and not names.startswith("\\fI")
            out += [".TP", names + (f" \\fI{roff(option.value_name)}\\fR" if takes else ""),
                    roff(option.text)]
        if entries:
            out.append(".RE")
    return "\n".join(out)


def keys_page(keys):
    out, section = [], None
    for key, kind, default, unit, change, text in keys:
        parts = key.split(".")
        here = ".".join(parts[:2]) if parts[1:2] and parts[1] in (
            "tls", "databases", "users", "backup") else parts[0] if len(parts) > 1 else ""
        if here != section:
            section = here
            out.append(f".SS {roff(here or 'general')}")
        about = ", ".join(filter(None, [kind + (f" ({unit})" if unit else ""),
                                        f"default `{default}`",
                                        "live" if change == "live" else "needs a restart"]))
        out += [".TP", bold(key), roff(text), ".br", f"({roff(about)})"]
    return "\n".join(out)


def page(source, version, tables):
    text = (HERE / "man" / source).read_text(encoding="utf-8").replace("@VERSION@", version)
    for name, table in tables.items():
        text = text.replace(f"@{name}@", table)
    return text.rstrip("\n") + "\n"


# Completions. Each shell gets a function that finds the command among the words before the cursor.

def words_of(command):
    return ([child.name for child in command.children]
            + [name for option in command.options for name in option.names])


def patterns(commands, between):
    return between.join(f"'{path}'" for path in commands if " " in path)


BASH = """\
# bash completion for sluice. Made by packaging/pages.py.
_sluice() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local path=sluice word words=
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case "$path $word" in
            @PATHS@)
                path="$path $word" ;;
        esac
    done
    case "$path $previous" in
@VALUES@
    esac
    case $path in
@WORDS@
    esac
@FILES@
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _sluice sluice
"""


def bash(commands):
    def reply(option):
        if option.kind == "values":
            fill = f"compgen -W '{' '.join(option.values)}' -- \"$current\""
        elif option.kind:
            fill = f"compgen -{'d' if option.kind == 'directories' else 'f'} -- \"$current\""
        else:
            return ["            return ;;"]
        names = ["            compopt -o filenames 2>/dev/null"] if option.kind != "values" else []
        return names + [f"            mapfile -t COMPREPLY < <({fill})", "            return ;;"]

    values, words = [], []
    for path, command in commands.items():
        for option in command.options:
            if option.type:
                pattern = " | ".join(f"'{path} {name}'" for name in option.names)
                values += [f"        {pattern})", *reply(option)]
        words.append(f"        '{path}') words='{' '.join(words_of(command))}' ;;")
    with_files = " | ".join(f"'{path}'" for path, command in commands.items()
                            if any(option.kind for *_, option in command.positionals))
    files = ["    case $path in", f"        {with_files})",
             "            if [[ $current != -* ]]; then",
             "                compopt -o filenames 2>/dev/null",
             "                mapfile -t COMPREPLY < <(compgen -f -- \"$current\")",
             "                return", "            fi ;;", "    esac"] if with_files else []
    return (BASH.replace("@PATHS@", patterns(commands, " | "))
            .replace("@VALUES@", "\n".join(values)).replace("@WORDS@", "\n".join(words)).replace("@FILES@", "\n".join(files)))


ZSH = """\
#compdef sluice
# zsh completion for sluice. Made by packaging/pages.py.
_sluice() {
    local at=sluice word  # path would be $PATH
    local -a commands
    for word in ${words[2,CURRENT-1]}; do
        case "$at $word" in
            @PATHS@) at="$at $word" ;;
        esac
    done
    # What follows is about the command: its name takes the place of the program's.
    local depth=${#${(s: :)at}}
    case $at in
@COMMANDS@
    esac
}
_sluice "$@"
"""


def quoted(text):
    """Within single quotes of a shell, and of zsh's own notation in them."""
    return re.sub(r"([:\[\]])", r"\\\1", text).replace("'", "'\\''")


def zsh(commands):
    def spec(option):
        action = {"values": f"({' '.join(option.values)})", "files": "_files",
                  "directories": "_files -/", "": " "}[option.kind]
        value = f":{quoted(option.value_name)}:{action}" if option.type else ""
        return [f"'{name}[{quoted(option.text)}]{value}'" for name in option.names]

    out = []
    for path, command in commands.items():
        out.append(f"        '{path}')")
        if command.children:
            out.append("            if [[ ${words[CURRENT]} != -* ]]; then")
            out.append("                commands=(")
            out += [f"                    '{child.name}:{quoted(child.text)}'"
                    for child in command.children]
            out += ["                )", "                _describe command commands",
                    "                return", "            fi"]
        specs = [one for option in command.options for one in spec(option)]
        for name, _, option in command.positionals:
            specs.append(f"'*:{quoted(name)}:{'_files' if option.kind else ' '}'")
        out.append("            shift $((depth - 1)) words")
        out.append("            ((CURRENT -= depth - 1))")
        out.append("            _arguments \\")
        out.append(" \\\n".join("                " + one for one in specs) + " ;;")
    return ZSH.replace("@PATHS@", patterns(commands, " | ")).replace("@COMMANDS@", "\n".join(out))


FISH = """\
# fish completion for sluice. Made by packaging/pages.py.
function __sluice_at
    set -l path sluice
    for word in (commandline -opc)[2..-1]
        switch "$path $word"
            case @PATHS@
                set path "$path $word"
        end
    end
    test "$path" = "$argv[1]"
end
complete -c sluice -f
"""


def fish(commands):
    def quote(text):
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    out = [FISH.replace("@PATHS@", patterns(commands, " "))]
    for path, command in commands.items():
        at = f"complete -c sluice -n \"__sluice_at '{path}'\""
        for child in command.children:
            out.append(f"{at} -a {child.name} -d {quote(child.text)}\n")
        if any(option.kind for *_, option in command.positionals):
            out.append(f"{at} -F\n")
        for option in command.options:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                             for name in option.names)
            takes = {"values": f" -x -a {quote(' '.join(option.values))}", "files": " -r -F",
                     "directories": " -x -a '(__fish_complete_directories)'",
                     "": " -x" if option.type else ""}[option.kind]
            out.append(f"{at} {names}{takes} -d {quote(option.text)}\n")
    return "".join(out)


def main():
    version, folder = sys.argv[1], Path(sys.argv[2])
    commands, keys = read(sys.stdin)
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "sluice.1": page("sluice.1.in", version, {"COMMANDS": commands_page(commands)}),
        "sluice.yaml.5": page("sluice.yaml.5.in", version, {"KEYS": keys_page(keys)}),
        "sluice.bash": bash(commands),
        "_sluice": zsh(commands),
        "sluice.fish": fish(commands),
    }
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
