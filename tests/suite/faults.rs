//! Faults: damaged state, programs that are killed, clients that vanish. Each is refused with a reason or harms one
//! domain; nothing leaks and everything else goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use harness::images::Images;
use harness::operator::{Trouble, wait};
use harness::process::{End, run};
use harness::random::Random;
use mgmt_proto::blob::Chunk;
use mgmt_proto::snapshot::{Manifest, Record, SnapshotReader, SnapshotWriter};

use crate::stage::{SOON, Stage, contains, on_machine};

const SEED: u64 = 0xA1C0_0001;
/// Flips for each kind of record.
const FLIPS: usize = 64;
/// Kills for each command.
const KILLS: u64 = 12;

/// A snapshot file, taken apart.
struct Snapshot {
    manifest: Manifest,
    chunks: Vec<(u32, Chunk)>,
}

impl Snapshot {
    fn read(file: &Path) -> Self {
        let bytes = fs::read(file).expect("the save is a file");
        let mut reader = SnapshotReader::new(&bytes[..]).expect("a snapshot");
        let manifest = reader.manifest().clone();
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next_chunk().expect("it is whole") {
            chunks.push(chunk);
        }
        Self { manifest, chunks }
    }

    /// Writes it with other records, all hashes and checksums made anew.
    fn write_with(&self, records: Vec<Record>, file: &Path) {
        let manifest = Manifest {
            records,
            ..self.manifest.clone()
        };
        let bytes = manifest.encode().expect("it can be encoded");
        let mut writer = SnapshotWriter::new(Vec::new(), &bytes).expect("memory is a sink");
        for (index, chunk) in &self.chunks {
            writer.chunk(*index, chunk.clone()).expect("in order");
        }
        let (sealed, _) = writer.finish().expect("it is whole");
        fs::write(file, sealed).expect("the copy is written");
    }

    fn kinds(&self) -> BTreeSet<u16> {
        self.manifest
            .records
            .iter()
            .map(|record| record.kind)
            .collect()
    }

    /// The records with one bit of one record of this kind flipped.
    fn flipped(&self, kind: u16, random: &mut Random) -> (Vec<Record>, String) {
        let mut records = self.manifest.records.clone();
        let mut of_kind: Vec<&mut Record> = records
            .iter_mut()
            .filter(|record| record.kind == kind)
            .collect();
        let which = random.below(of_kind.len());
        let bytes = &mut of_kind[which].bytes;
        let (byte, bit) = (random.below(bytes.len()), random.below(8));
        bytes[byte] ^= 1 << bit;
        (
            records,
            format!("record {kind:#x} no. {which}, byte {byte}, bit {bit}"),
        )
    }
}

/// What came of a restore.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fate {
    Refused,
    Runs,
}

fn try_restore(stage: &Stage<'_>, file: &Path, name: &str) -> Result<Fate, Trouble> {
    let file = file.to_string_lossy();
    let told = stage.host.xenman(["restore", "--name", name, &file]);
    let told = told.map_err(|error| Trouble(error.to_string()))?;
    match told.end {
        End::Status(0) => Ok(Fate::Runs),
        End::Status(1) if told.stderr.len() > 20 => Ok(Fate::Refused),
        end => Err(Trouble(format!(
            "restore ended with {end:?}: {}",
            told.stderr
        ))),
    }
}

/// Takes away what a restore made, whatever became of it.
fn remove(stage: &Stage<'_>, name: &str) -> Result<(), Trouble> {
    if stage.operator.state(name)?.is_some() {
        // It may crash and be gone at any moment.
        let _gone_already = stage.host.xenman(["destroy", name]);
    }
    stage.operator.gone(name, SOON)
}

#[test]
fn no_flipped_bit_of_a_record_harms_more_than_its_domain() {
    on_machine(|stage| {
        println!("seed {SEED:#x}");
        let mut random = Random::seeded(SEED);
        let (file, bad) = (stage.file("flips.save"), stage.file("flipped.save"));
        stage.create_small("flips", "ticker", "")?;
        stage.operator.says("flips", "tick 3\r", SOON)?;
        stage
            .operator
            .run(&["save", "flips", &file.to_string_lossy()])?;
        stage.create_small("honest", "ticker", "")?;
        let free_kib = stage.operator.info("free_kib")?;
        let saved = Snapshot::read(&file);
        assert!(saved.kinds().len() >= 9, "{:x?}", saved.kinds());
        let mut fates: BTreeMap<(u16, Fate), u32> = BTreeMap::new();
        for kind in saved.kinds() {
            for _ in 0..FLIPS {
                let (records, what) = saved.flipped(kind, &mut random);
                saved.write_with(records, &bad);
                let fate = try_restore(stage, &bad, "flipped")
                    .map_err(|trouble| Trouble(format!("{what}: {trouble}")))?;
                *fates.entry((kind, fate)).or_default() += 1;
                remove(stage, "flipped")
                    .map_err(|trouble| Trouble(format!("{what}: {trouble}")))?;
            }
            stage.ticks_go_on("honest")?;
        }
        println!("{fates:x?}");
        stage.operator.free_again(free_kib, SOON)?;
        stage.do_to("destroy", "honest")
    });
}

#[test]
fn a_record_of_an_unknown_kind_or_version_is_refused_with_the_remedy() {
    on_machine(|stage| {
        let (file, bad) = (stage.file("known.save"), stage.file("unknown.save"));
        stage.create_small("known", "ticker", "")?;
        stage
            .operator
            .run(&["save", "known", &file.to_string_lossy()])?;
        let saved = Snapshot::read(&file);
        let changes: [fn(&mut Record); 2] =
            [|record| record.kind = 0x7F, |record| record.version = 9];
        for change in changes {
            let mut records = saved.manifest.records.clone();
            change(&mut records[0]);
            saved.write_with(records, &bad);
            let said = stage
                .operator
                .refused(&["restore", &bad.to_string_lossy()])?;
            contains(&said, &["record", "release"]);
            stage.clean()?;
        }
        Ok(())
    });
}

/// Starts `xenman` with these words and kills it after a while, again and again; after each time `check` looks at what
/// is left.
fn killed(
    stage: &Stage<'_>,
    words: &[&str],
    step: Duration,
    mut prepare: impl FnMut() -> Result<(), Trouble>,
    mut check: impl FnMut() -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    for number in 0..KILLS {
        prepare()?;
        let session = stage.host.session(words);
        let mut session = session.map_err(|error| Trouble(error.to_string()))?;
        thread::sleep(step * u32::try_from(number).unwrap_or(0));
        session.kill();
        check().map_err(|trouble| Trouble(format!("{words:?}, kill {number}: {trouble}")))?;
        stage.ticks_go_on("witness")?;
    }
    Ok(())
}

/// A guest with so large a ramdisk that its upload takes a while.
fn bulky(stage: &Stage<'_>, name: &str, seed: u64) -> String {
    let ramdisk = stage.file(&format!("{name}.ramdisk"));
    fs::write(&ramdisk, Random::seeded(seed).bytes(6 << 20)).expect("the ramdisk is written");
    let kernel = stage.guest("ticker");
    let more = format!("memory = 24\nramdisk = \"{}\"", ramdisk.display());
    stage.configuration(name, &kernel, &more)
}

#[test]
fn xenman_killed_while_it_creates_leaves_nothing_or_a_domain() {
    on_machine(|stage| {
        stage.create_small("witness", "ticker", "")?;
        let free_kib = stage.operator.info("free_kib")?;
        let file = bulky(stage, "cut", 1);
        let step = Duration::from_millis(60);
        killed(
            stage,
            &["create", &file],
            step,
            || Ok(()),
            || {
                // What was asked for in full may still be on its way.
                wait(SOON, "the host is not as it was", || {
                    remove(stage, "cut")?;
                    Ok(stage.operator.info("free_kib")? == free_kib)
                })
            },
        )?;
        stage.do_to("destroy", "witness")
    });
}

#[test]
fn xenman_killed_while_it_saves_leaves_the_domain_or_a_whole_file() {
    on_machine(|stage| {
        stage.create_small("witness", "ticker", "")?;
        let free_kib = stage.operator.info("free_kib")?;
        let config = bulky(stage, "kept", 2);
        let file = stage.file("kept.save");
        let saved = file.to_string_lossy();
        let prepare = || {
            if stage.operator.state("kept")?.is_none() {
                stage.operator.run(&["create", &config])?;
            }
            let _none_yet = fs::remove_file(&file);
            Ok(())
        };
        killed(
            stage,
            &["save", "kept", &saved],
            Duration::from_millis(60),
            prepare,
            || {
                wait(SOON, "it neither runs nor is it saved", || {
                    match stage.operator.state("kept")? {
                        Some(state) => Ok(["running", "blocked"].contains(&state.as_str())),
                        None => Ok(true),
                    }
                })?;
                if stage.operator.state("kept")?.is_none() {
                    let partial = stage.file("kept.save.partial");
                    let whole = if file.exists() { &file } else { &partial };
                    stage.operator.run(&["restore", &whole.to_string_lossy()])?;
                }
                stage.ticks_go_on("kept")
            },
        )?;
        stage.do_to("destroy", "kept")?;
        stage.operator.free_again(free_kib, SOON)?;
        stage.do_to("destroy", "witness")
    });
}

#[test]
fn xenman_killed_while_it_restores_leaves_nothing_or_a_domain() {
    on_machine(|stage| {
        let config = bulky(stage, "back", 3);
        let file = stage.file("back.save");
        let saved = file.to_string_lossy();
        stage.operator.run(&["create", &config])?;
        stage.ticks_go_on("back")?;
        stage.operator.run(&["save", "back", &saved])?;
        stage.create_small("witness", "ticker", "")?;
        let free_kib = stage.operator.info("free_kib")?;
        let step = Duration::from_millis(60);
        killed(
            stage,
            &["restore", &saved],
            step,
            || Ok(()),
            || {
                wait(SOON, "the host is not as it was", || {
                    remove(stage, "back")?;
                    Ok(stage.operator.info("free_kib")? == free_kib)
                })
            },
        )?;
        stage.operator.run(&["restore", &saved])?;
        stage.ticks_go_on("back")?;
        stage.do_to("destroy", "back")?;
        stage.do_to("destroy", "witness")
    });
}

#[test]
fn a_list_is_answered_while_a_console_streams_and_a_kernel_is_uploaded() {
    on_machine(|stage| {
        stage.create_small("chatter", "chatter", "")?;
        let console = stage.operator.console("chatter")?;
        console.line("line 100\r", SOON)?;
        let file = bulky(stage, "upload", 4);
        let session = stage.host.session(["create", &file]);
        let mut upload = session.map_err(|error| Trouble(error.to_string()))?;
        let mut answered = 0;
        let status = loop {
            if let Ok(Some(status)) = upload.status(Duration::ZERO) {
                break status;
            }
            let list = stage.operator.json(&["list"])?;
            assert_eq!(list[1]["name"], "chatter", "{list}");
            answered += 1;
        };
        assert_eq!(status, 0, "{}", upload.errors().tail());
        assert!(
            answered >= 3,
            "the upload was answered first: {answered} lists"
        );
        println!("{answered} lists were answered meanwhile");
        let said = console.line("line ", SOON)?;
        assert!(said.contains("line "), "{said}");
        stage.ticks_go_on("upload")?;
        stage.do_to("destroy", "upload")?;
        stage.do_to("destroy", "chatter")
    });
}

#[test]
fn console_clients_that_vanish_are_forgotten() {
    on_machine(|stage| {
        stage.create_small("talks", "chatter", "")?;
        for _ in 0..20 {
            let session = stage.host.session(["console", "talks"]);
            let mut session = session.map_err(|error| Trouble(error.to_string()))?;
            session
                .output()
                .expect("line ", SOON)
                .map_err(|error| Trouble(error.to_string()))?;
            session.kill();
        }
        assert_eq!(stage.operator.json(&["list"])?[1]["name"], "talks");
        stage.do_to("destroy", "talks")
    });
}

#[test]
fn garbage_at_the_brokers_socket_is_not_listened_to() {
    on_machine(|stage| {
        stage.create_small("calm", "ticker", "")?;
        for seed in 0..8 {
            let mut socket = UnixStream::connect(stage.host.socket()).expect("the broker listens");
            // The broker may hang up on us before all of it is said.
            let _hung_up = socket.write_all(&Random::seeded(SEED + seed).bytes(40_000));
        }
        stage.ticks_go_on("calm")?;
        stage.do_to("destroy", "calm")
    });
}

#[test]
fn an_xend_that_cannot_be_reached_is_status_3() {
    let mut command = Command::new(Images::of_workspace().xenman());
    command.env_remove("HOME").env_remove("XENMAN_HOME");
    command.args(["-H", "unix:/nowhere/at/all.sock", "list"]);
    let told = run(command, SOON).expect("xenman is there");
    assert_eq!(told.end, End::Status(3), "{}", told.stderr);
    contains(&told.stderr, &["/nowhere/at/all.sock"]);
}

#[test]
fn a_guest_that_dies_while_it_starts_is_reported_and_gone() {
    on_machine(|stage| {
        stage.create_small("stillborn", "crasher", "")?;
        stage.operator.gone("stillborn", SOON)?;
        contains(&stage.operator.said("stillborn")?, &["ok crasher"]);
        contains(&stage.operator.run(&["log"])?, &["stillborn", "crash"]);
        Ok(())
    });
}
