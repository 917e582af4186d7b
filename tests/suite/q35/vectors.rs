//! Registers of vCPUs that take turns.

use harness::operator::Trouble;

use super::{EPYC, MAX};
use crate::stage::{SOON, Stage, contains};

#[test]
fn domains_keep_their_vector_registers_apart() {
    MAX.run(kept);
}

#[test]
fn domains_keep_their_vector_registers_apart_on_a_cpu_with_less() {
    EPYC.run(kept);
}

/// Two domains side by side, one of them saved and restored while the other goes on.
fn kept(stage: &Stage<'_>) -> Result<(), Trouble> {
    const GUEST: &str = "vectors_kept";
    // x87, SSE, AVX.
    const WITH_AVX: &str = "filled 0x7\r";
    let file = stage.file("vectors.save");
    let file = file.to_string_lossy();
    for (name, pattern) in [("one", 11), ("two", 22)] {
        let extra = format!("extra = \"pattern={pattern} rounds=1200\"");
        stage.create_small(name, GUEST, &extra)?;
        stage.operator.says(name, WITH_AVX, SOON)?;
    }
    stage.operator.run(&["save", "one", &file])?;
    stage.operator.run(&["restore", &file])?;
    for name in ["one", "two"] {
        stage.operator.gone(name, SOON)?;
        contains(&stage.operator.said(name)?, &["ok vectors_kept"]);
    }
    Ok(())
}
