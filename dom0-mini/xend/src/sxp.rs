//! S-expressions, as `xend-config.sxp` is written in: `(key value)`, `(key (nested list) 'quoted string')`.
//!
//! An atom is a run of characters other than white space, parentheses and quotes. Quoted strings, by `'` or `"`, know the
//! escapes `\n`, `\t`, `\r`, and a backslash before any other character gives that character. A comment begins with `#` or
//! `;` where an atom could begin, and goes to the end of the line. Size, depth and number of elements are bounded.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::iter::Peekable;
use core::str::Chars;

/// The longest text, in bytes.
pub const TEXT_MAX: usize = 64 * 1024;

/// Lists within lists.
pub const DEPTH_MAX: usize = 16;

/// Atoms, strings and lists in one text.
pub const ELEMENTS_MAX: usize = 8192;

/// Where something is, counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// An expression and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sxp {
    /// Its first character.
    pub place: Place,
    /// What it is.
    pub value: Value,
}

/// What an expression is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word or a string; quotes make no difference to its meaning.
    Text(String),
    /// A list.
    List(Vec<Sxp>),
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SxpErrorKind {
    /// It is longer than [`TEXT_MAX`].
    TooLong,
    /// A list inside more than [`DEPTH_MAX`] others.
    TooDeep,
    /// More than [`ELEMENTS_MAX`] elements.
    TooMany,
    /// A `)` that closes nothing.
    NotOpened,
    /// A `(` that is never closed.
    NotClosed,
    /// A quote that is never closed.
    NotQuoted,
    /// A control character that is no white space.
    Control,
}

/// An error and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SxpError {
    /// Where.
    pub place: Place,
    /// What.
    pub kind: SxpErrorKind,
}

impl fmt::Display for SxpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        match self.kind {
            SxpErrorKind::TooLong => write!(f, "longer than {TEXT_MAX} bytes"),
            SxpErrorKind::TooDeep => write!(f, "more than {DEPTH_MAX} lists inside each other"),
            SxpErrorKind::TooMany => write!(f, "more than {ELEMENTS_MAX} elements"),
            SxpErrorKind::NotOpened => {
                f.write_str("this `)` closes nothing: remove it, or add the `(` before")
            }
            SxpErrorKind::NotClosed => f.write_str("this `(` is never closed: add a `)`"),
            SxpErrorKind::NotQuoted => {
                f.write_str("this quote is never closed: add the same quote at its end")
            }
            SxpErrorKind::Control => f.write_str("a control character: is this a text file?"),
        }
    }
}

impl core::error::Error for SxpError {}

impl Sxp {
    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::List(_) => None,
        }
    }

    /// The elements, if it is a list.
    pub fn list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::Text(_) => None,
            Value::List(list) => Some(list),
        }
    }
}

impl fmt::Display for Sxp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Text(text) => write_text(f, text),
            Value::List(list) => {
                f.write_char('(')?;
                for (number, element) in list.iter().enumerate() {
                    let separator = if number == 0 { "" } else { " " };
                    write!(f, "{separator}{element}")?;
                }
                f.write_char(')')
            }
        }
    }
}

/// Quoted if it would not be read as one atom otherwise.
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if !text.is_empty() && !text.starts_with(['#', ';']) && text.chars().all(is_atom) {
        return f.write_str(text);
    }
    f.write_char('\'')?;
    for character in text.chars() {
        match character {
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            '\'' | '\\' => write!(f, "\\{character}")?,
            other => f.write_char(other)?,
        }
    }
    f.write_char('\'')
}

fn is_atom(character: char) -> bool {
    !character.is_whitespace() && !character.is_control() && !"()'\"".contains(character)
}

/// Reads all expressions of a text.
pub fn parse(text: &str) -> Result<Vec<Sxp>, SxpError> {
    let mut reader = Reader {
        rest: text.chars().peekable(),
        place: Place { line: 1, column: 1 },
    };
    if text.len() > TEXT_MAX {
        return Err(reader.error(SxpErrorKind::TooLong));
    }
    let mut builder = Builder {
        open: Vec::new(),
        done: Vec::new(),
        elements: 0,
    };
    while let Some((place, token)) = reader.token()? {
        match token {
            Token::Open => builder.open(place)?,
            Token::Close => builder.close(place)?,
            Token::Text(text) => builder.add(Sxp {
                place,
                value: Value::Text(text),
            })?,
        }
    }
    builder.finish()
}

/// Lists still open, innermost last, and what is complete.
struct Builder {
    open: Vec<(Place, Vec<Sxp>)>,
    done: Vec<Sxp>,
    elements: usize,
}

impl Builder {
    fn open(&mut self, place: Place) -> Result<(), SxpError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(SxpError {
                place,
                kind: SxpErrorKind::TooDeep,
            });
        }
        self.open.push((place, Vec::new()));
        Ok(())
    }

    fn close(&mut self, place: Place) -> Result<(), SxpError> {
        let (place, list) = self.open.pop().ok_or(SxpError {
            place,
            kind: SxpErrorKind::NotOpened,
        })?;
        self.add(Sxp {
            place,
            value: Value::List(list),
        })
    }

    fn add(&mut self, element: Sxp) -> Result<(), SxpError> {
        self.elements = self.elements.saturating_add(1);
        if self.elements > ELEMENTS_MAX {
            return Err(SxpError {
                place: element.place,
                kind: SxpErrorKind::TooMany,
            });
        }
        self.open
            .last_mut()
            .map_or(&mut self.done, |(_, list)| list)
            .push(element);
        Ok(())
    }

    fn finish(self) -> Result<Vec<Sxp>, SxpError> {
        match self.open.last() {
            Some((place, _)) => Err(SxpError {
                place: *place,
                kind: SxpErrorKind::NotClosed,
            }),
            None => Ok(self.done),
        }
    }
}

enum Token {
    Open,
    Close,
    Text(String),
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    /// Of the next character.
    place: Place,
}

impl Reader<'_> {
    fn token(&mut self) -> Result<Option<(Place, Token)>, SxpError> {
        self.skip_blank();
        let place = self.place;
        let Some(first) = self.rest.peek().copied() else {
            return Ok(None);
        };
        let token = match first {
            '(' => self.single(Token::Open),
            ')' => self.single(Token::Close),
            '\'' | '"' => Token::Text(self.quoted(first)?),
            other if is_atom(other) => Token::Text(self.atom()),
            _ => return Err(self.error(SxpErrorKind::Control)),
        };
        Ok(Some((place, token)))
    }

    fn single(&mut self, token: Token) -> Token {
        self.next();
        token
    }

    fn atom(&mut self) -> String {
        let mut text = String::new();
        while let Some(character) = self
            .rest
            .peek()
            .copied()
            .filter(|character| is_atom(*character))
        {
            text.push(character);
            self.next();
        }
        text
    }

    fn quoted(&mut self, quote: char) -> Result<String, SxpError> {
        let unclosed = self.error(SxpErrorKind::NotQuoted);
        let mut text = String::new();
        self.next();
        loop {
            match self.next().ok_or(unclosed)? {
                '\\' => text.push(escaped(self.next().ok_or(unclosed)?)),
                character if character == quote => return Ok(text),
                character => text.push(character),
            }
        }
    }

    fn skip_blank(&mut self) {
        while let Some(character) = self.rest.peek() {
            match character {
                '#' | ';' => while self.next().is_some_and(|character| character != '\n') {},
                blank if blank.is_whitespace() => drop(self.next()),
                _ => return,
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let character = self.rest.next()?;
        if character == '\n' {
            self.place = Place {
                line: self.place.line.saturating_add(1),
                column: 1,
            };
        } else {
            self.place.column = self.place.column.saturating_add(1);
        }
        Some(character)
    }

    const fn error(&self, kind: SxpErrorKind) -> SxpError {
        SxpError {
            place: self.place,
            kind,
        }
    }
}

const fn escaped(character: char) -> char {
    match character {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        other => other,
    }
}

/// A fuzz body: what can be read is written and read again, with the same meaning.
///
/// # Panics
///
/// If the meaning changed.
pub fn fuzz_sxp(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(expressions) = parse(&text) else {
        return;
    };
    let mut written = String::new();
    for expression in &expressions {
        // Writing into a string cannot fail.
        let _ = writeln!(written, "{expression}");
    }
    if written.len() <= TEXT_MAX {
        let again = parse(&written);
        let same = again
            .is_ok_and(|again| again.len() == expressions.len() && written == rewritten(&again));
        assert!(same, "{written:?}");
    }
}

fn rewritten(expressions: &[Sxp]) -> String {
    expressions
        .iter()
        .fold(String::new(), |mut text, expression| {
            let _ = writeln!(text, "{expression}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::{DEPTH_MAX, ELEMENTS_MAX, Place, SxpErrorKind, TEXT_MAX, fuzz_sxp, parse};
    use alloc::format;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    fn written(text: &str) -> Vec<String> {
        parse(text)
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn the_original_file_reads() {
        let text = "# -*- sh -*-\n\n#(logfile /not/this)\n(logfile /var/log/xend.log) ; comment\n\
                    (xend-api-server ((9363 pam '^localhost$ ^example\\\\.com$')\n   (unix none)))\n(vncpasswd '')\n";
        assert_eq!(
            written(text),
            [
                "(logfile /var/log/xend.log)",
                "(xend-api-server ((9363 pam '^localhost$ ^example\\\\.com$') (unix none)))",
                "(vncpasswd '')"
            ]
        );
    }

    #[test]
    fn quotes_and_escapes() {
        let list = parse(r#"(a "b c" 'd"e' "f'g" 'h\'i\n\t\\' x#y '#z')"#).unwrap();
        let texts: Vec<&str> = list[0]
            .list()
            .unwrap()
            .iter()
            .map(|element| element.text().unwrap())
            .collect();
        assert_eq!(texts, ["a", "b c", "d\"e", "f'g", "h'i\n\t\\", "x#y", "#z"]);
        assert!(parse("a").unwrap()[0].list().is_none() && list[0].text().is_none());
    }

    #[test]
    fn places_are_counted_in_characters_from_one() {
        let list = parse("\n  (ä\n 'b\n' c)").unwrap();
        let places: Vec<(u32, u32)> = list[0]
            .list()
            .unwrap()
            .iter()
            .map(|element| (element.place.line, element.place.column))
            .collect();
        assert_eq!(list[0].place, Place { line: 2, column: 3 });
        assert_eq!(places, [(2, 4), (3, 2), (4, 3)]);
    }

    #[test]
    fn errors_say_what_and_where() {
        for (text, kind, place) in [
            ("(a\n(b (c)", SxpErrorKind::NotClosed, "2:1"),
            ("(a))", SxpErrorKind::NotOpened, "1:4"),
            ("(a\n  'b)", SxpErrorKind::NotQuoted, "2:3"),
            ("(a 'b\\", SxpErrorKind::NotQuoted, "1:4"),
            ("(a \u{1})", SxpErrorKind::Control, "1:4"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(
                (error.kind, error.place.to_string().as_str()),
                (kind, place),
                "{text:?}"
            );
            assert!(error.to_string().starts_with(place));
        }
    }

    #[test]
    fn size_depth_and_number_are_bounded() {
        let nested = |depth: usize| format!("{}{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(
            parse(&nested(DEPTH_MAX + 1)).unwrap_err().kind,
            SxpErrorKind::TooDeep
        );
        assert!(parse(&"a ".repeat(ELEMENTS_MAX)).is_ok());
        assert_eq!(
            parse(&"a ".repeat(ELEMENTS_MAX + 1)).unwrap_err().kind,
            SxpErrorKind::TooMany
        );
        assert_eq!(
            parse(&"#".repeat(TEXT_MAX + 1)).unwrap_err().kind,
            SxpErrorKind::TooLong
        );
    }

    #[test]
    fn fuzz_seeds() {
        let mut state = 1u64;
        for _ in 0..5000 {
            let mut next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize
            };
            let alphabet = b"(()) ab'\"\\#;\n\t\x01\xc3\xa4";
            let text: Vec<u8> = (0..next() % 64)
                .map(|_| alphabet[next() % alphabet.len()])
                .collect();
            fuzz_sxp(&text);
        }
    }
}
