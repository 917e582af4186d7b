//! Where a hypervisor's instructions went, by its symbols.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use elf::ElfBytes;
use elf::endian::LittleEndian;

use crate::Outcome;
use crate::failure::Failure;

/// Symbols shown.
const SHOWN: usize = 40;

/// Instructions of each function.
#[derive(Debug, Default)]
pub(super) struct Profile {
    functions: Vec<(u64, String)>,
}

impl Profile {
    /// Of the plugin's blocks (`ADDRESS COUNT` in each line, the address in hexadecimal) of a program that was loaded
    /// `offset` above its link address.
    pub(super) fn new(blocks: &str, program: &Path, offset: u64) -> Outcome<Self> {
        let symbols = symbols(program)?.into_iter();
        let symbols: BTreeMap<u64, String> =
            symbols.map(|(place, name)| (place.start, name)).collect();
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for (address, count) in blocks.lines().filter_map(block) {
            let below = symbols.range(..=address.wrapping_sub(offset));
            let name = below.last().map_or("?", |(_, name)| name);
            *counts.entry(name).or_default() += count;
        }
        let mut functions: Vec<_> = counts
            .into_iter()
            .map(|(name, count)| (count, name.to_owned()))
            .collect();
        functions.sort_unstable_by(|one, other| other.cmp(one));
        Ok(Self { functions })
    }

    pub(super) fn print(&self, title: &str) {
        println!("\n{title}: instructions of the hypervisor by function");
        for (count, name) in self.functions.iter().take(SHOWN) {
            println!("{count:>12} {name}");
        }
    }
}

fn block(line: &str) -> Option<(u64, u64)> {
    let (address, count) = line.split_once(' ')?;
    Some((u64::from_str_radix(address, 16).ok()?, count.parse().ok()?))
}

/// Where a symbol is, and what it names ends.
pub(super) fn symbol(program: &Path, name: &str) -> Outcome<Range<u64>> {
    let all = symbols(program)?;
    let found = all.into_iter().find(|(_, found)| *found == name);
    found
        .map(|(place, _)| place)
        .ok_or_else(|| Failure::new(format!("{} has no symbol {name}", program.display())))
}

fn symbols(program: &Path) -> Outcome<Vec<(Range<u64>, String)>> {
    let bytes = fs::read(program).map_err(Failure::file(program))?;
    let missing = || Failure::new(format!("{} has no symbols", program.display()));
    let elf = ElfBytes::<LittleEndian>::minimal_parse(&bytes).map_err(|_| missing())?;
    let (symbols, names) = elf.symbol_table().ok().flatten().ok_or_else(missing)?;
    let functions = symbols.iter().filter(|symbol| {
        matches!(
            symbol.st_symtype(),
            elf::abi::STT_FUNC | elf::abi::STT_NOTYPE
        )
    });
    let named = functions.filter_map(|symbol| {
        let name = names.get(symbol.st_name as usize).ok()?;
        let place = symbol.st_value..symbol.st_value + symbol.st_size;
        (!name.is_empty() && !name.starts_with('$')).then(|| (place, readable(name)))
    });
    Ok(named.collect())
}

/// A function's name as its source has it, without the hash.
fn readable(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read() {
        assert_eq!(block("40201400 12"), Some((0x4020_1400, 12)));
        assert_eq!(block("x 12"), None);
    }
}
