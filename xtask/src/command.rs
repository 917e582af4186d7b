//! Running other programs and saying which one failed.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::failure::Failure;

/// Runs `command` with our input and outputs; anything but exit status 0 is a failure.
pub(crate) fn run(command: &mut Command) -> Outcome {
    if succeeds(command)? {
        Ok(())
    } else {
        Err(Failure::Program(line(command)))
    }
}

/// Runs `command` with our input and outputs, and says whether it exited with 0.
pub(crate) fn succeeds(command: &mut Command) -> Outcome<bool> {
    let status = command
        .status()
        .map_err(|error| Failure::Start(program(command), error))?;
    Ok(status.success())
}

/// The standard output of `command`, which must exit with 0.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    Ok(String::from_utf8_lossy(&bytes(command)?).into_owned())
}

/// The same where it is no text.
pub(crate) fn bytes(command: &mut Command) -> Outcome<Vec<u8>> {
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = command
        .output()
        .map_err(|error| Failure::Start(program(command), error))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Failure::Program(line(command)))
    }
}

/// Makes a folder and those above it.
pub(crate) fn make_folder(path: &Path) -> Outcome {
    std::fs::create_dir_all(path).map_err(Failure::file(path))
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn line(command: &Command) -> String {
    let mut line = program(command);
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_named_with_its_arguments() {
        let failure = run(Command::new("false").arg("--now")).unwrap_err();
        assert_eq!(failure.to_string(), "failed: false --now");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let failure = output(&mut Command::new("no-such-program")).unwrap_err();
        assert!(
            failure
                .to_string()
                .starts_with("cannot start no-such-program")
        );
    }
}
