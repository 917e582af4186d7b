//! The boot bundle: a newc cpio ("new ASCII format" of cpio(5)).

const HEADER: usize = 110;

/// The content of the member called `name`.
pub(crate) fn file(bundle: &'static [u8], name: &str) -> Option<&'static [u8]> {
    let mut members = files(bundle);
    members.find_map(|(member, content)| (member == name).then_some(content))
}

/// All members: their names (a leading `./` does not count) and contents.
pub(crate) fn files(bundle: &'static [u8]) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    let mut rest = bundle;
    core::iter::from_fn(move || {
        let (name, content, next) = member(rest)?;
        rest = next;
        (name != "TRAILER!!!").then(|| (name.trim_start_matches("./"), content))
    })
}

/// Splits off the first member: name, content, what follows.
fn member(archive: &'static [u8]) -> Option<(&'static str, &'static [u8], &'static [u8])> {
    let header = archive.get(..HEADER)?;
    if !header.starts_with(b"07070") {
        return None;
    }
    let content_length = field(header, 6)?;
    let name_length = field(header, 11)?;
    let name_end = HEADER.checked_add(name_length)?;
    let name = archive
        .get(HEADER..name_end)?
        .split(|byte| *byte == 0)
        .next()?;
    let content_start = name_end.checked_next_multiple_of(4)?;
    let content_end = content_start.checked_add(content_length)?;
    let content = archive.get(content_start..content_end)?;
    let next = archive
        .get(content_end.checked_next_multiple_of(4)?..)
        .unwrap_or_default();
    Some((core::str::from_utf8(name).ok()?, content, next))
}

/// The `nth` 8-digit hexadecimal field behind the magic.
fn field(header: &[u8], nth: usize) -> Option<usize> {
    let start = 6 + nth * 8;
    let digits = core::str::from_utf8(header.get(start..start + 8)?).ok()?;
    usize::from_str_radix(digits, 16).ok()
}
