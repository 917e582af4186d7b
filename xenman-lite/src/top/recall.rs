// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was typed at a prompt before, to be typed again.

/// Earlier lines, and which of them is at the prompt.
#[derive(Clone, Debug, Default)]
pub(super) struct Recall {
    /// The newest last.
    lines: Vec<String>,
    /// How many lines back the prompt is; 0: what is being typed.
    back: usize,
    typed: String,
}

impl Recall {
    pub(super) fn of(lines: Vec<String>) -> Self {
        Self {
            lines,
            ..Self::default()
        }
    }

    /// The line before the one at the prompt; that one, if there is none.
    pub(super) fn older(&mut self, shown: String) -> String {
        if self.back == 0 {
            self.typed.clone_from(&shown);
        }
        let back = self.back + 1;
        match self.at(back) {
            Some(line) => {
                self.back = back;
                line
            }
            None => shown,
        }
    }

    /// The line after it; in the end what was being typed.
    pub(super) fn newer(&mut self, shown: String) -> String {
        match self.back {
            0 => shown,
            1 => {
                self.back = 0;
                self.typed.clone()
            }
            back => {
                self.back = back - 1;
                self.at(self.back).unwrap_or(shown)
            }
        }
    }

    /// The prompt is over, with this line or without one.
    pub(super) fn end(&mut self, line: Option<&str>) {
        self.back = 0;
        if let Some(line) = line
            && self.lines.last().is_none_or(|last| last != line)
        {
            self.lines.push(line.to_owned());
        }
    }

    fn at(&self, back: usize) -> Option<String> {
        let place = self.lines.len().checked_sub(back)?;
        self.lines.get(place).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_back_and_forth_between_lines_and_keeps_what_is_being_typed() {
        let mut recall = Recall::of(vec!["a".to_owned(), "b".to_owned()]);
        let typed = recall.older("new".to_owned());
        assert_eq!(typed, "b");
        let typed = recall.older(typed);
        assert_eq!(typed, "a");
        assert_eq!(recall.older(typed.clone()), "a", "there is no older one");
        let typed = recall.newer(typed);
        assert_eq!(typed, "b");
        let typed = recall.newer(typed);
        assert_eq!(typed, "new");
        assert_eq!(recall.newer(typed), "new");
        recall.end(Some("new"));
        recall.end(Some("new"));
        recall.end(None);
        let typed = recall.older(String::new());
        assert_eq!(
            (typed.as_str(), recall.older(typed.clone()).as_str()),
            ("new", "b")
        );
    }

    #[test]
    fn without_earlier_lines_nothing_changes() {
        let mut recall = Recall::default();
        assert_eq!(recall.older("x".to_owned()), "x");
        assert_eq!(recall.newer("x".to_owned()), "x");
    }
}
