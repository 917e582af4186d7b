//! `cargo xtask soak`: the long loops, which are no part of `test`.

use std::fs;
use std::time::Duration;

use argh::FromArgs;
use harness::host::Host;
use harness::images::Images;
use harness::operator::{Operator, Trouble};

use crate::failure::Failure;
use crate::{Outcome, build, demo, packages};

const SOON: Duration = Duration::from_secs(60);
/// Cycles between two looks at the free memory.
const LOOK: u32 = 10;

/// Create and destroy, fail to start, save and restore, hundreds of times; all memory has to come back.
#[derive(FromArgs)]
#[argh(subcommand, name = "soak")]
pub(crate) struct Soak {
    /// how often each is done (default 100)
    #[argh(option, default = "100", arg_name = "N")]
    cycles: u32,
}

impl Soak {
    pub(crate) fn run(self) -> Outcome {
        packages::need(&[&packages::QEMU_ARM])?;
        let images = build::build()?;
        let host = demo::boot(&images, &[])?;
        let outcome = self.all(&host, &images);
        if outcome.is_err() {
            host.emulator().keep_log("soak");
        }
        outcome.map_err(|trouble| Failure::new(trouble.to_string()))
    }

    fn all(&self, host: &Host, images: &Images) -> Result<(), Trouble> {
        let operator = Operator::new(host);
        let file = host.folder().join("soak.cfg");
        let text = format!(
            "name = \"soak\"\nmemory = 8\nkernel = \"{}\"\n",
            images.guest("ticker").display()
        );
        fs::write(&file, text).map_err(|error| Trouble(error.to_string()))?;
        let file = file.to_string_lossy();
        self.repeat(operator, "create, destroy", || {
            operator.run(&["create", &file])?;
            operator.run(&["destroy", "soak"]).map(drop)
        })?;
        self.repeat(operator, "fail to start", || {
            operator
                .refused(&["create", &file, "memory=1000000"])
                .map(drop)
        })?;
        let saved = host.folder().join("soak.save");
        let saved = saved.to_string_lossy();
        self.repeat(operator, "create, save, restore, destroy", || {
            operator.run(&["create", &file])?;
            operator.run(&["save", "soak", &saved])?;
            operator.run(&["restore", &saved])?;
            operator.run(&["destroy", "soak"]).map(drop)
        })
    }

    fn repeat(
        &self,
        operator: Operator<'_>,
        name: &str,
        cycle: impl Fn() -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let free = operator.info("free_kib")?;
        for number in 1..=self.cycles {
            cycle().map_err(|trouble| Trouble(format!("{name}, cycle {number}: {trouble}")))?;
            if number % LOOK == 0 {
                operator.free_again(free, SOON)?;
            }
        }
        operator.free_again(free, SOON)?;
        println!("{name}: {} times, {free} KiB free as before", self.cycles);
        Ok(())
    }
}
