#!/usr/bin/env bash
# debian-core.sh TARGET...: builds core, alloc and compiler_builtins for the targets from Debian's rust-web-src and
# puts them where Debian's rustc looks. Offline: the source brings its vendored crates. As root; called by
# `cargo xtask`, which installs the packages first and checks the result.
set -euo pipefail

system=/usr
host=$("$system/bin/rustc" -vV | sed -n 's/^host: //p')
llvm=$("$system/bin/rustc" -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
source=$(realpath "$system/lib/rustlib/src/rust/library")

# Debian's rustc has no rust-lld; lld of the same LLVM understands the way rustc calls it.
mkdir -p "$system/lib/rustlib/$host/bin"
[ -e "$system/lib/rustlib/$host/bin/rust-lld" ] ||
  ln -s "$system/bin/lld-$llvm" "$system/lib/rustlib/$host/bin/rust-lld"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/stub/src"
echo '#![no_std]' >"$work/stub/src/lib.rs"
cat >"$work/stub/Cargo.toml" <<'MANIFEST'
[package]
name = "stub"
version = "0.0.0"
edition = "2021"
[workspace]
[profile.release]
opt-level = 3
codegen-units = 1
debug = 1
MANIFEST

arguments=()
for target in "$@"; do arguments+=(--target "$target"); done

# Bitcode lets our images use LTO across these libraries. The "mem" feature supplies memcpy and its kin, as rustup's
# libraries for these targets do.
cd "$work/stub"
RUSTC_BOOTSTRAP=1 CARGO_HOME="$work/home" CARGO_TARGET_DIR="$work/target" RUSTC="$system/bin/rustc" \
  CARGO_BUILD_RUSTFLAGS="-Cembed-bitcode=yes" \
  "$system/bin/cargo" build -q --release --offline "${arguments[@]}" \
  --config 'source.crates-io.replace-with="vendored"' \
  --config "source.vendored.directory=\"$source/vendor\"" \
  -Zbuild-std=core,alloc,compiler_builtins -Zbuild-std-features=compiler-builtins-mem

for target in "$@"; do
  folder="$system/lib/rustlib/$target/lib"
  mkdir -p "$folder"
  # Two versions of one crate side by side are an error (E0464); only our own three are removed.
  rm -f "$folder"/lib{core,alloc,compiler_builtins}-*.rlib
  cp "$work/target/$target/release/deps"/lib{core,alloc,compiler_builtins}-*.rlib "$folder/"
done
