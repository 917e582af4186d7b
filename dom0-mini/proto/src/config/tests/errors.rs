// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said about a text that is no configuration, and where.

use super::*;

#[test]
fn shows_the_place_of_an_error() {
    assert_eq!(
        parse("name = 'a'\n\nmemory =   # how much?\n")
            .unwrap_err()
            .to_string(),
        "guest.cfg:3:9: expected a value after '='\n     \
         3 | memory =   # how much?\n       \
         |         ^\n  \
         help: write a number, a quoted string or a list in [ ]"
    );
    assert_eq!(
        parse("\tname = \"gä\" x\n").unwrap_err().to_string(),
        "guest.cfg:1:14: expected the end of the line, found 'x'\n     \
         1 | \tname = \"gä\" x\n       | \t            ^\n  \
         help: put one assignment on a line, or separate them with ';'"
    );
    assert_eq!(
        complaints("name = 'a'; kernel = 'k'\nmemory = 'much'"),
        "guest.cfg:2:10: 'memory' is a number, not a string\n     \
         2 | memory = 'much'\n       |          ^\n  \
         help: write memory = 1, or more\n"
    );
}

#[test]
fn keeps_the_caret_in_sight_of_long_lines() {
    let text = format!("extra = \"{}\" oops", "x".repeat(500));
    let shown = parse(&text).unwrap_err().to_string();
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.iter().all(|line| line.len() < 120));
    let caret = lines[2].find('^').unwrap();
    assert!(lines[1][caret..].starts_with("oops"));
}

#[test]
fn syntax_errors_name_place_cause_and_remedy() {
    for (text, place, cause, remedy) in [
        ("import os", "1:1", "'import' is Python", "not executed"),
        ("def f():", "1:1", "'def' is Python", "not executed"),
        (
            "a = 'b' + 'c'",
            "1:9",
            "end of the line, found '+'",
            "not executed",
        ),
        ("a = 'b%d' % 3", "1:11", "found '%'", "not executed"),
        (
            "a = ['b' + 'c']",
            "1:10",
            "expected ',' or ']', found '+'",
            "not executed",
        ),
        (
            "a = str(3)",
            "1:5",
            "expected a value, found 'str'",
            "not executed",
        ),
        ("a = 'b' 'c'", "1:9", "found '''", "join the strings"),
        (
            "a = '''b\n'''",
            "1:5",
            "over several lines are Python",
            "on one line",
        ),
        ("a = True", "1:5", "found 'True'", "write 1"),
        ("a = None", "1:5", "found 'None'", "leave the line out"),
        ("a = hello", "1:5", "found 'hello'", "quote it: \"hello\""),
        ("a = -1", "1:5", "found '-'", "not negative"),
        ("a = ('b',)", "1:5", "found '('", "list in [ ]"),
        (
            "a = 256L",
            "1:5",
            "'256L' is not a number",
            "without a unit",
        ),
        ("a = 0x", "1:5", "'0x' is not a number", "0x100"),
        ("a = 08", "1:5", "'08' is not a number", "octal"),
        ("a = 99999999999999999999", "1:5", "too large", "64 bits"),
        ("a = \"b", "1:5", "string is not closed", "close it with \""),
        (
            "a = 'b\n'",
            "1:5",
            "string is not closed",
            "close it with '",
        ),
        ("a = 'b\\q'", "1:7", "backslash", "write \\\\"),
        ("a = 'b\\x00'", "1:7", "backslash", "write \\\\"),
        (
            "a = [ 'b'\n  'c' ]",
            "2:3",
            "expected ',' or ']', found '''",
            "put ','",
        ),
        (
            "a = [ 'b',",
            "1:5",
            "list is not closed",
            "close it with ']'",
        ),
        (
            "a = [ 'b'",
            "1:5",
            "list is not closed",
            "close it with ']'",
        ),
        (
            "a = [[[[[1]]]]]",
            "1:9",
            "4 lists are within each other",
            "no key",
        ),
        (
            "a 'b'",
            "1:3",
            "expected '=' after 'a', found '''",
            "memory = 256",
        ),
        ("= 3", "1:1", "expected a key, found '='", "memory = 256"),
        (
            "a = 1\n\u{1}",
            "2:1",
            "control character 0x01",
            "memory = 256",
        ),
        ("a = 'b\0'", "1:7", "zero byte", "text file"),
        (
            "a = 1\na += 'b'",
            "2:6",
            "'+=' cannot append a string to a number",
            "append",
        ),
    ] {
        let error = parse(text).unwrap_err();
        let at = error.place.clone().unwrap();
        assert_eq!(
            format!("{}:{}", at.line, at.column),
            place,
            "{text}: {error}"
        );
        assert!(error.message.contains(cause), "{text}: {error}");
        assert!(error.remedy.unwrap().contains(remedy), "{text}");
    }
}

#[test]
fn limits_hold() {
    assert!(parse(&"#".repeat(MAX_TEXT)).is_ok());
    let long = parse(&"#".repeat(MAX_TEXT + 1)).unwrap_err();
    assert!(
        long.to_string()
            .starts_with("guest.cfg: it is longer than 64 KiB")
    );
    let list = |count| format!("a = [{}]", "1,".repeat(count));
    assert!(parse(&list(MAX_LIST)).is_ok());
    assert!(
        parse(&list(MAX_LIST + 1))
            .unwrap_err()
            .message
            .contains("256 elements")
    );
    assert!(parse(&"a=1\n".repeat(MAX_ENTRIES)).is_ok());
    assert!(
        parse(&"a=1\n".repeat(MAX_ENTRIES + 1))
            .unwrap_err()
            .message
            .contains("512")
    );
}
