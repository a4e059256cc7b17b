#!/bin/sh
# collect.sh PROGRAM ROOT: makes the root file system of an image with this program, which was built on Debian from this
# repository: the program, the shared libraries that it needs, and the licenses of all that is in it.
set -eu

program=$1
root=$2
here=$(cd "$(dirname "$0")/../.." && pwd)

# Nobody has to write anything in it.
install -D -m 0555 "$program" "$root/usr/bin/$(basename "$program")"

# `libc.so.6 => /lib/…/libc.so.6 (0x…)`, and the loader by its path. A library that is not found fails here.
listed=$(ldd "$program")
case $listed in *"not found"*) echo "$listed" >&2; exit 1 ;; esac
libraries=$(echo "$listed" | awk '$2 == "=>" { print $3 } $1 ~ /^\// { print $1 }')

mkdir -p "$root/licenses/debian"
for library in $libraries; do
    install -D -m 0555 "$library" "$root$library"
    # dpkg knows a file by the path that its package has, before or after /lib became a link to /usr/lib.
    real=$(realpath "$library")
    package=$(dpkg -S "$real" 2>/dev/null || dpkg -S "${real#/usr}" 2>/dev/null || dpkg -S "/usr$real")
    package=${package%%:*}
    install -m 0444 "/usr/share/doc/$package/copyright" "$root/licenses/debian/$package"
done

# What is linked in: each crate with its license, and the texts, each once.
install -m 0444 "$here/LICENSE" "$root/licenses/netsim"
texts=$(mktemp -d)
trap 'rm -rf "$texts"' EXIT
crates=$(cd "$here" && cargo tree --locked --offline --prefix none --edges normal --format '{p}|{l}' \
    --package "$(basename "$program")" | sed 's/ (\*)$//; s/ (proc-macro)//' | sort -u)
sources=${CARGO_HOME:-$HOME/.cargo}/registry/src
{
    echo "$crates" | while IFS='|' read -r crate license; do
        name=${crate%% *}
        version=${crate#* v}
        # Those of this repository have their path behind the version.
        case $version in *" ("*) continue ;; esac
        echo "$name $version: $license"
        for text in "$sources"/*/"$name-$version"/LICEN[CS]E* "$sources"/*/"$name-$version"/COPYING* \
            "$sources"/*/"$name-$version"/NOTICE*; do
            [ -f "$text" ] || continue
            sum=$(sha256sum "$text" | cut -c 1-16)
            cp "$text" "$texts/$sum"
            echo "    text $sum"
        done
    done
    for text in "$texts"/*; do
        printf '\n==== text %s ====\n\n' "$(basename "$text")"
        cat "$text"
    done
} >"$root/licenses/crates"
chmod 0444 "$root/licenses/crates"

du -ab "$root" | sort -k 2
