//! Rust source as identifiers: comments, strings and character literals do not count.

use std::iter::Peekable;
use std::str::CharIndices;

/// An identifier or keyword in the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    /// The identifier.
    pub(crate) text: &'a str,
    /// The line it is on, from 1.
    pub(crate) line: usize,
    /// Whether `::` follows, so that it is the beginning or middle of a path.
    pub(crate) is_path: bool,
}

/// All identifiers and keywords of a source file, in order.
pub(crate) fn words(source: &str) -> Vec<Word<'_>> {
    Lexer {
        source,
        rest: source.char_indices().peekable(),
        line: 1,
        words: Vec::new(),
    }
    .run()
}

struct Lexer<'a> {
    source: &'a str,
    rest: Peekable<CharIndices<'a>>,
    line: usize,
    words: Vec<Word<'a>>,
}

impl<'a> Lexer<'a> {
    fn run(mut self) -> Vec<Word<'a>> {
        while let Some((at, character)) = self.next() {
            let after = &self.source[at..];
            match character {
                '/' if after.starts_with("//") => self.skip_while(|character| character != '\n'),
                '/' if after.starts_with("/*") => self.skip_block_comment(),
                '"' => self.skip_string(),
                'r' if raw_string_hashes(after).is_some() => self.skip_raw_string(after),
                '\'' => self.skip_character(after),
                _ if is_word(character) => self.word(at),
                _ => {}
            }
        }
        self.words
    }

    fn next(&mut self) -> Option<(usize, char)> {
        let next = self.rest.next();
        if matches!(next, Some((_, '\n'))) {
            self.line += 1;
        }
        next
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }

    fn skip_while(&mut self, wanted: impl Fn(char) -> bool) {
        while self
            .rest
            .peek()
            .is_some_and(|&(_, character)| wanted(character))
        {
            self.next();
        }
    }

    fn word(&mut self, start: usize) {
        self.skip_while(is_word);
        let end = self.rest.peek().map_or(self.source.len(), |&(at, _)| at);
        let is_path = self.source[end..].trim_start().starts_with("::");
        self.words.push(Word {
            text: &self.source[start..end],
            line: self.line,
            is_path,
        });
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 1;
        self.skip(1);
        while depth > 0 {
            let Some((at, _)) = self.next() else { return };
            if self.source[at..].starts_with("/*") {
                depth += 1;
                self.skip(1);
            } else if self.source[at..].starts_with("*/") {
                depth -= 1;
                self.skip(1);
            }
        }
    }

    fn skip_string(&mut self) {
        while let Some((_, character)) = self.next() {
            match character {
                '\\' => self.skip(1),
                '"' => return,
                _ => {}
            }
        }
    }

    fn skip_raw_string(&mut self, after: &str) {
        let hashes = raw_string_hashes(after).unwrap_or_default();
        let end = format!("\"{}", "#".repeat(hashes));
        self.skip(hashes + 1);
        while let Some((at, _)) = self.next() {
            if self.source[at..].starts_with(&end) {
                return self.skip(hashes);
            }
        }
    }

    /// A character literal; a lifetime is left to be read as a word.
    fn skip_character(&mut self, after: &str) {
        let mut following = after.chars().skip(1);
        match (following.next(), following.next()) {
            (Some('\\'), _) => {
                self.skip(2);
                self.skip_while(|character| character != '\'');
                self.skip(1);
            }
            (Some(_), Some('\'')) => self.skip(2),
            _ => {}
        }
    }
}

/// The number of `#` if a raw string begins here.
fn raw_string_hashes(text: &str) -> Option<usize> {
    let body = text.strip_prefix('r')?;
    let quoted = body.trim_start_matches('#');
    quoted.starts_with('"').then_some(body.len() - quoted.len())
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        words(source).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn comments_and_literals_do_not_count() {
        assert_eq!(
            texts("a // unsafe\nb /* unsafe /* nested */ unsafe */ c"),
            ["a", "b", "c"]
        );
        assert_eq!(
            texts(r#"a("unsafe \" unsafe", 'u', '\'', b"unsafe")"#),
            ["a", "b"]
        );
        assert_eq!(
            texts("r\"unsafe\\\" a r#\"unsafe \" unsafe\"# b r##\"\"# unsafe\"## c"),
            ["a", "b", "c"]
        );
    }

    #[test]
    fn lifetimes_are_not_character_literals() {
        assert_eq!(
            texts("fn f<'a>(x: &'a str) -> 'a'"),
            ["fn", "f", "a", "x", "a", "str"]
        );
    }

    #[test]
    fn words_know_their_line_and_whether_they_lead_a_path() {
        let found = words("//! doc\nuse arm_gic::x;\n\"a\nb\" arm_gic");
        let gic: Vec<_> = found.iter().filter(|word| word.text == "arm_gic").collect();
        assert_eq!((gic[0].line, gic[0].is_path), (2, true));
        assert_eq!((gic[1].line, gic[1].is_path), (4, false));
    }
}
