//! The `log` sink: lines go to the hypervisor's console and log through `console_io`.

use crate::hw::hypercall;
use core::fmt::{self, Write};

/// A line under construction; `console_io` takes it whole, so that lines of the hypervisor do not cut it.
struct Line {
    bytes: [u8; 256],
    used: usize,
}

impl Line {
    const fn new() -> Self {
        Self {
            bytes: [0; 256],
            used: 0,
        }
    }

    fn flush(&mut self) {
        hypercall::console_write(self.bytes.get(..self.used).unwrap_or_default());
        self.used = 0;
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.used == self.bytes.len() {
                self.flush();
            }
            if let Some(slot) = self.bytes.get_mut(self.used) {
                *slot = byte;
                self.used += 1;
            }
        }
        Ok(())
    }
}

struct ConsoleLog;

impl log::Log for ConsoleLog {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        emergency(format_args!(
            "{}: {}\n",
            record.level().as_str().to_ascii_lowercase_static(),
            record.args()
        ));
    }

    fn flush(&self) {}
}

trait LowercaseLevel {
    fn to_ascii_lowercase_static(&self) -> &'static str;
}

impl LowercaseLevel for str {
    fn to_ascii_lowercase_static(&self) -> &'static str {
        match self {
            "ERROR" => "error",
            "WARN" => "warning",
            "INFO" => "info",
            _ => "debug",
        }
    }
}

/// Writes at once, without the heap.
pub(crate) fn emergency(text: fmt::Arguments<'_>) {
    let mut line = Line::new();
    // Writing to a line cannot fail.
    let _ = line.write_fmt(text);
    line.flush();
}

/// Makes `log` write to the console from `level` on.
pub(crate) fn install(level: log::LevelFilter) {
    static LOG: ConsoleLog = ConsoleLog;
    if log::set_logger(&LOG).is_ok() {
        log::set_max_level(level);
    }
}
