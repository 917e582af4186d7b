// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images in a host's store: added, listed, exported, and what domains are made from.

use crate::fake::{Host, arm64_image};
use mgmt_proto::messages::RequestBody;
use std::fs;

fn kernel() -> Vec<u8> {
    arm64_image(vec![1; 70_000])
}

/// Nobody knows what it is, but the guest.
const INITRD: &[u8] = b"an initrd, perhaps";

const TEMPLATE: &str = "# $VM_NAME, $$5\nname = \"$VM_NAME\"\nmemory = 64\nkernel = \"$IMAGE_LOCATION\"\n\
                        extra = \"host=$VM_NAME on=$DEFAULT_BRIDGE mac=$AUTOGEN_MAC\"\n";

fn host() -> Host {
    let host = Host::start();
    host.write("Image", kernel());
    host.write("initrd", INITRD);
    host.write("root.raw", vec![9; 200_000]);
    host.write("web.template", TEMPLATE);
    host
}

fn add(host: &Host, words: &str) -> String {
    host.run(&format!("image add debian --kernel Image {words}"))
        .done()
        .out
}

#[test]
fn an_image_is_added_listed_shown_and_removed() {
    let host = host();
    assert_eq!(
        add(
            &host,
            "--disk root.raw --description small --config web.template"
        ),
        "added image 'debian': kernel 69 KiB, disk 196 KiB\n"
    );
    let added = host.state().images["debian"].clone();
    assert_eq!(
        (added.arch.as_str(), added.config.as_str()),
        ("aarch64", TEMPLATE)
    );
    assert_eq!(added.parts[1].file, "root.raw");
    let list = host.run("image list").done().out;
    let words: Vec<&str> = list.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(
        words,
        [
            "debian", "aarch64", "kernel,", "disk", "264", "KiB", "small"
        ]
    );
    assert_eq!(
        host.run("image list --json").done().json()[0]["parts"][1],
        "disk"
    );
    let shown = host.run("image show debian").done().out;
    for line in [
        "name          debian\n",
        "added by      xenman on ada\n",
        "no domain can use it yet\n",
        "  kernel = \"$IMAGE_LOCATION\"\n",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let json = host.run("image show debian --json").done().json();
    assert_eq!(json["config"], TEMPLATE);
    assert_eq!(json["parts"][0]["blake3"].as_str().unwrap().len(), 64);
    host.run("image add debian --kernel Image")
        .failed(1, "there is an image 'debian' already");
    host.run("image rm debian").done();
    host.run("image rm debian")
        .failed(1, "there is no image 'debian'");
}

#[test]
fn what_the_host_has_is_not_sent_again() {
    let host = host();
    add(&host, "--disk root.raw");
    let sent = host.state().chunks_put;
    host.run("image rm debian").done();
    add(&host, "--disk root.raw");
    assert_eq!(host.state().chunks_put, sent);
}

#[test]
fn what_is_wrong_with_an_image_is_found_before_the_host_is_asked() {
    let host = host();
    host.write("bad.template", "name = \"$VM_NAM\"\n");
    host.write("worse.template", "name = \n");
    host.write("cut", "070701");
    for (words, told) in [
        ("deb'ian --kernel Image", "an image's name is made of"),
        (
            "debian --kernel nothing",
            "cannot read nothing: there is no such file",
        ),
        (
            "debian --kernel root.raw",
            "name another file with --kernel",
        ),
        (
            "debian --kernel Image --initrd cut",
            "name another file with --initrd",
        ),
        (
            "debian --kernel Image --config bad.template",
            "bad.template:1:9: there is no variable '$VM_NAM'",
        ),
        (
            "debian --kernel Image --config worse.template",
            "worse.template:1:7: expected a value",
        ),
    ] {
        host.run(&format!("image add {words}")).failed(1, told);
    }
    host.run("image add debian")
        .failed(2, "--kernel is missing");
    assert!(host.state().images.is_empty());
    assert_eq!(host.state().chunks_put, 0);
}

#[test]
fn a_domain_is_made_from_an_image() {
    let host = host();
    add(&host, "--config web.template");
    assert_eq!(
        host.run("create --image debian --name web1 --memory 96 --vcpus 2")
            .done()
            .out,
        "created domain 'web1' with the number 5\n"
    );
    let create = host.state().created[0].clone();
    let start = "# web1, $5\nname = \"web1\"\nmemory = 64\nkernel = \"store:debian\"\n\
                 extra = \"host=web1 on=br7 mac=00:16:3e:";
    assert!(create.config.starts_with(start), "{}", create.config);
    assert!(
        create.config.ends_with("memory=96\nvcpus=2\n"),
        "{}",
        create.config
    );
    assert!(create.files.is_empty());
    host.run("new --image debian --name db on_crash=preserve")
        .done();
    let defined = host.state().defined["db"].config.clone();
    assert!(
        defined.contains("name = \"db\"") && defined.ends_with("on_crash=\"preserve\"\n"),
        "{defined}"
    );
}

#[test]
fn a_domain_gets_the_name_that_was_asked_for() {
    let host = host();
    host.write(
        "fixed",
        "name = 'fixed'\nmemory = 64\nkernel = '$IMAGE_LOCATION'\n",
    );
    add(&host, "--config fixed");
    let created = host.run("create --image debian --name web1").done().out;
    assert!(created.contains("'web1'"), "{created}");
    host.run("create --image debian --name a'b")
        .failed(1, "has no quotes");
    host.run("create --image lost --name web1")
        .failed(1, "there is no image 'lost'");
    host.run("create --image debian")
        .failed(2, "--image needs --name");
    host.run("create web.cfg --image debian --name a")
        .failed(2, "are one too many");
}

#[test]
fn an_image_is_exported_as_it_was_added() {
    let host = host();
    add(
        &host,
        "--disk root.raw --initrd initrd --config web.template",
    );
    assert_eq!(
        host.run("image export debian out").done().out,
        "wrote kernel, initrd, disk, image.conf, vm_conf.template into out\n"
    );
    let read = |name: &str| fs::read(host.path("out").join(name)).unwrap();
    assert_eq!(read("kernel"), kernel());
    assert_eq!(read("initrd"), INITRD);
    assert_eq!(read("disk"), vec![9; 200_000]);
    assert_eq!(read("vm_conf.template"), TEMPLATE.as_bytes());
    let conf = String::from_utf8(read("image.conf")).unwrap();
    for line in [
        "image_name='debian'\n",
        "kernel_src='kernel'\n",
        "ramdisk_src='initrd'\n",
        "disk_file='root.raw'\n",
    ] {
        assert!(conf.contains(line), "{line}: {conf}");
    }
    fs::remove_file(host.path("out").join("disk")).unwrap();
    host.run("image export debian out")
        .failed(1, "out/kernel is there already");
    assert!(!host.path("out").join("disk").exists());
    host.run("image export debian out --force").done();
    assert_eq!(fs::read_dir(host.path("out")).unwrap().count(), 5);
}

/// What an export that is killed leaves is not called like something complete, and is gone with the next one.
#[test]
fn a_killed_export_leaves_nothing_that_stays() {
    let host = host();
    add(&host, "--disk root.raw");
    let files = || fs::read_dir(host.path("out")).unwrap().count();
    host.state().stall =
        Some(|body| matches!(body, RequestBody::BlobRead(read) if read.index == 2));
    let mut child = host.command("image export debian out").spawn().unwrap();
    host.wait_for("reading", |state| state.is_stalled);
    assert_eq!(files(), 2, "the kernel and what there is of the disk");
    // Who still writes is left alone.
    host.write("out/.xenman-remains", "");
    host.state().damages_chunks = true;
    host.run("image export debian out").failed(1, "damaged");
    assert_eq!(files(), 2);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(files(), 2);
    host.state().stall = None;
    host.state().damages_chunks = false;
    host.run("image export debian out").done();
    assert_eq!(files(), 4);
}

#[test]
fn an_export_that_arrives_damaged_writes_nothing() {
    let host = host();
    add(&host, "");
    host.state().damages_chunks = true;
    host.run("image export debian out")
        .failed(1, "the image arrived damaged");
    assert!(!host.path("out").exists());
    host.run("image export debian Image")
        .failed(1, "cannot make Image");
}
