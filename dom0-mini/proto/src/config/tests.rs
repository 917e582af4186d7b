// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configurations as people write them, and as they should not.

mod any_text;
mod errors;

use super::*;
use crate::messages::DomainKind;
use alloc::{format, string::String, string::ToString, vec, vec::Vec};

const PVH: &str = r#"# A Linux domain, in the manner of xl's example.
name = "example.pvh"          # unique on this host
uuid = "06a1ee30-7d3a-4e10-8a92-0c29c94dd7f0"
type = "pvh"
kernel = "/boot/Image"
ramdisk = '/boot/initrd.img'
root = "/dev/ram0"; extra = "console=hvc0 quiet"
memory = 128
#maxmem = 512
vcpus = 2
cpus = [ "0-1", '3', ]        # one set each
vif = [ ]
disk = [
    # none yet
]
on_crash = 'preserve'
cpu_weight = 0x200
cap = 0144
"#;

const HVM: &str = r#"
builder = "hvm"
name = "example.hvm"
memory = 512
maxmem = 512
vcpus = "4"
kernel = "boot:rtos"
sdl = 0
vnc = 1
vnclisten = "0.0.0.0"
serial = 'pty'
usbdevice = 'tablet'
soundhw = "ac97"
keymap = "de"
on_poweroff = "destroy"
on_reboot = "restart"
on_crash = "coredump-restart"
"#;

fn parse(text: &str) -> Result<ConfigFile, ConfigError> {
    ConfigFile::parse("guest.cfg", text)
}

fn read(text: &str) -> Result<(DomainConfig, Vec<Warning>), Vec<ConfigError>> {
    DomainConfig::from_file(&parse(text).unwrap())
}

/// The least that is a domain, with further lines.
fn domain(more: &str) -> String {
    format!("name='a'\nkernel='k'\nmemory=64\n{more}\n")
}

fn complaints(text: &str) -> String {
    match parse(text) {
        Err(error) => error.to_string(),
        Ok(file) => DomainConfig::from_file(&file)
            .unwrap_err()
            .iter()
            .map(|error| format!("{error}\n"))
            .collect(),
    }
}

#[test]
fn reads_a_pvh_domain() {
    let (config, warnings) = read(PVH).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(
        config,
        DomainConfig {
            name: "example.pvh".into(),
            uuid: parse_uuid("06a1ee30-7d3a-4e10-8a92-0c29c94dd7f0"),
            kind: DomainKind::PVH,
            memory_mib: 128,
            vcpus: 2,
            max_vcpus: 2,
            kernel: ImageSource::File("/boot/Image".into()),
            ramdisk: Some(ImageSource::File("/boot/initrd.img".into())),
            command_line: "root=/dev/ram0 console=hvc0 quiet".into(),
            policies: Policies {
                on_crash: Action::Preserve,
                ..Policies::default()
            },
            cpu_weight: 512,
            cap: 100,
            affinity: Affinity::Each(vec![CpuSet(3), CpuSet(8)]),
            autostart: None,
        }
    );
}

#[test]
fn reads_an_hvm_domain_and_says_what_has_no_effect() {
    let (config, warnings) = read(HVM).unwrap();
    assert_eq!(config.kind, DomainKind::HVM);
    assert_eq!(
        (config.vcpus, config.policies.on_crash),
        (4, Action::Restart)
    );
    let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    for key in [
        "sdl",
        "vnc",
        "vnclisten",
        "serial",
        "usbdevice",
        "soundhw",
        "keymap",
    ] {
        assert!(
            told.iter()
                .any(|told| told.contains(&format!("'{key}' is ignored"))),
            "{key}"
        );
    }
    assert_eq!(
        told.first().unwrap(),
        "guest.cfg:8:1: 'sdl' is ignored: domains have no display here; use 'xenman console'"
    );
    assert!(told.last().unwrap().contains("no core dump is written"));
    assert_eq!(told.len(), 8);
}

#[test]
fn values_are_xls() {
    let file = parse(
        "a='it\\'s \\x41\\101\\n'; b=0x1F;c=017 # d=3\r\ne=[1,[2,'x'],]\na+=\"!\"\ne += [3]\n_k9 = 0",
    )
    .unwrap();
    let value = |key: &str| file.get(key).unwrap().value.to_string();
    assert_eq!(value("a"), "\"it's AA\\n!\"");
    assert_eq!(
        (value("b"), value("c"), value("_k9")),
        ("31".into(), "15".into(), "0".into())
    );
    assert_eq!(value("e"), "[ 1, [ 2, \"x\" ], 3 ]");
    assert!(file.get("d").is_none());
}

#[test]
fn meaning_is_checked() {
    for (more, complaint) in [
        ("name=''", "guest.cfg:4:6: a domain's name is not empty"),
        ("name='1'", "numbers are domids"),
        ("name='a/b'", "no '/'"),
        ("name='Domain-0'", "is the name of Domain-0"),
        ("name=['x']", "'name' is a string, not a list"),
        ("uuid='xyz'", "'uuid' is not a UUID"),
        ("type='pv'", "no domains of type 'pv'"),
        ("builder='magic'", "'magic' is not a builder"),
        ("memory=0", "'memory' is 0; it must be from 1"),
        ("memory=99999999", "must be from 1 to 1048576"),
        ("maxmem=32", "'maxmem' (32) is less than 'memory' (64)"),
        ("vcpus=17", "'vcpus' is 17; it must be from 1 to 16"),
        ("vcpus=2;maxvcpus=1", "'maxvcpus' (1) is less"),
        ("on_crash='destory'", "did you mean \"destroy\"?"),
        ("cpus='0-99'", "'cpus' is not a set of CPUs"),
        ("cpus='^0'", "'cpus' is not a set of CPUs"),
        (
            "disk=['phy:/dev/sda,xvda,w']",
            "'disk' cannot be granted: disks are not there yet",
        ),
        ("vif=['']", "guest.cfg:4:1: 'vif' cannot be granted"),
        ("pci=['01:00.0']", "'pci' cannot be granted"),
        ("bootloader='pygrub'", "'bootloader' cannot be granted"),
        ("firmware='uefi'", "'firmware' cannot be granted"),
        (
            "device_model_version='qemu-xen'",
            "'device_model_version' cannot be granted",
        ),
        ("kernel=''", "guest.cfg: 'kernel' is missing"),
    ] {
        let told = complaints(&domain(more));
        assert!(told.contains(complaint), "{more}: {told}");
        assert!(told.contains("help: "), "{more}: {told}");
    }
    let told = complaints("vcpus = 99");
    for key in ["name", "memory", "kernel"] {
        assert!(told.contains(&format!("'{key}' is missing")), "{told}");
    }
    assert!(told.contains("'vcpus' is 99"));
}

#[test]
fn empty_requests_for_what_is_not_there_are_fine() {
    let (_, warnings) = read(&domain("disk=[]\nvif=[]\nbootloader=''\nnestedhvm=0")).unwrap();
    assert_eq!(warnings, []);
}

#[test]
fn warns_by_name_and_guesses() {
    for (more, warning) in [
        (
            "memroy=3",
            "guest.cfg:4:1: 'memroy' is not a known key and is ignored; did you mean 'memory'?",
        ),
        (
            "frobnicate=3",
            "'frobnicate' is not a known key and is ignored",
        ),
        ("memory=65", "'memory' is assigned again; this one counts"),
        ("maxmem=128", "'maxmem' is ignored: memory cannot grow"),
        (
            "cmdline='x';extra='y'",
            "'extra' is ignored: 'cmdline' stands",
        ),
        ("builder='generic'", "gives a domain of type pvh"),
    ] {
        let (_, warnings) = read(&domain(more)).unwrap();
        assert_eq!(warnings.len(), 1, "{more}");
        assert!(warnings[0].to_string().contains(warning), "{}", warnings[0]);
    }
}

#[test]
fn command_lines_are_put_together_as_xl_does() {
    for (more, line) in [
        ("", ""),
        ("root='/dev/xvda1 ro'", "root=/dev/xvda1 ro"),
        ("extra='quiet'", "quiet"),
        ("extra='quiet'\nroot='x'", "root=x quiet"),
        ("root='x'\ncmdline='y'", "y"),
        ("extra='a'\nextra+=' b'", "a b"),
    ] {
        assert_eq!(read(&domain(more)).unwrap().0.command_line, line, "{more}");
    }
    let long = domain(&format!("extra = '{}'", "x".repeat(2048)));
    assert!(complaints(&long).contains("command line has 2048 bytes"));
}

#[test]
fn cpu_sets_are_xls() {
    for (text, set) in [
        ("all", Some(u64::MAX)),
        ("0", Some(1)),
        ("1-3", Some(0b1110)),
        ("0-3,^1", Some(0b1101)),
        ("all,^0-62", Some(1 << 63)),
        ("63", Some(1 << 63)),
        ("64", None),
        ("3-1", None),
        ("", None),
        ("node:1", None),
    ] {
        assert_eq!(CpuSet::parse(text).map(|set| set.0), set, "{text}");
    }
}

#[test]
fn overrides_are_further_lines() {
    let text = domain("extra='quiet'").trim_end().to_string();
    let file = ConfigFile::parse_with(
        "guest.cfg",
        &text,
        &[
            "memory=96",
            "name=b",
            "kernel=/boot/Image-6.1",
            "extra+= debug",
            "vcpus=1;cap=5",
            "ramdisk=",
        ],
    )
    .unwrap();
    let (config, warnings) = DomainConfig::from_file(&file).unwrap();
    assert_eq!(warnings, []);
    assert_eq!((config.memory_mib, config.cap), (96, 5));
    assert_eq!(
        (config.name.as_str(), config.command_line.as_str()),
        ("b", "quietdebug")
    );
    assert_eq!(config.kernel, ImageSource::File("/boot/Image-6.1".into()));
    // What is sent to xend reads the same there, and errors still name the command line.
    let again = ConfigFile::parse("guest.cfg", file.text()).unwrap();
    assert!(again.same_values(&file));
    let bad = ConfigFile::parse_with("guest.cfg", &text, &["cap=1", "vcpus=99"]).unwrap();
    let error = DomainConfig::from_file(&bad).unwrap_err().remove(0);
    assert!(
        error
            .to_string()
            .starts_with("command line:2:7: 'vcpus' is 99"),
        "{error}"
    );
    let bad = ConfigFile::parse_with("guest.cfg", &text, &["paused"]).unwrap_err();
    assert!(
        bad.to_string()
            .starts_with("command line:1:7: expected '='"),
        "{bad}"
    );
    let bad = ConfigFile::parse_with("guest.cfg", &text, &["name='x"]).unwrap_err();
    assert!(
        bad.to_string().starts_with("command line:1:6: the string"),
        "{bad}"
    );
}

#[test]
fn a_name_is_replaced_where_it_is_written() {
    for (text, renamed) in [
        (
            "# a\nname = 'a'  # it\nmemory=1",
            "# a\nname = \"b\"  # it\nmemory=1",
        ),
        (
            "memory=1; name=\"\\x61\" ;cap=1\r\n",
            "memory=1; name=\"b\" ;cap=1\r\n",
        ),
        ("name='a'\nname='c'", "name='a'\nname=\"b\""),
        ("name='a'\nname+='c'", "name='a'\nname+='c'\nname = \"b\"\n"),
        ("memory=1", "memory=1\nname = \"b\"\n"),
    ] {
        assert_eq!(
            parse(text).unwrap().with_string("name", "b"),
            renamed,
            "{text}"
        );
    }
}

#[test]
fn the_name_of_an_hvm_file_says_its_type() {
    let text = domain("");
    let of = |origin: &str, text: &str| {
        let file = ConfigFile::parse(origin, text).unwrap();
        let (config, _) = DomainConfig::from_file(&file).unwrap();
        (config.kind, file.text().to_string())
    };
    let (kind, whole) = of("/etc/xen/win.hvm", text.trim_end());
    assert_eq!(kind, DomainKind::HVM);
    // It stays so where the name is not known any more.
    assert_eq!(of("the saved configuration", &whole).0, DomainKind::HVM);
    assert_eq!(of("win.hvm", &domain("type='pvh'")).0, DomainKind::PVH);
    assert_eq!(of("hvm.cfg", &text).0, DomainKind::PVH);
    let file = ConfigFile::parse_with("a.hvm", &text, &["memory=128"]).unwrap();
    let (config, _) = DomainConfig::from_file(&file).unwrap();
    assert_eq!((config.kind, config.memory_mib), (DomainKind::HVM, 128));
}

#[test]
fn sets_of_cpus_are_written_as_they_are_read() {
    for text in ["all", "0", "0-3", "1,3-5,63", "62-63"] {
        let set = CpuSet::parse(text).unwrap();
        assert_eq!(set.to_string(), text);
    }
    assert_eq!(CpuSet::parse("0-7,^3").unwrap().to_string(), "0-2,4-7");
    let each = Affinity::Each(vec![CpuSet(3), CpuSet(8)]);
    assert_eq!(
        [0, 1, 2].map(|vcpu| each.of(vcpu)),
        [CpuSet(3), CpuSet(8), CpuSet::ALL]
    );
}

#[test]
fn a_domain_starts_with_xend_if_it_says_so() {
    let of = |more: &str| read(&domain(more)).unwrap().0.autostart;
    let autostart = |order, delay_s| Some(Autostart { order, delay_s });
    assert_eq!(of(""), None);
    assert_eq!(of("on_xend_start='ignore'"), None);
    assert_eq!(of("autostart_order=1"), None);
    assert_eq!(of("on_xend_start='start'"), autostart(100, 0));
    let all = "on_xend_start='start'\nautostart_order=5\nautostart_delay=30";
    assert_eq!(of(all), autostart(5, 30));
    for (more, complaint) in [
        (
            "on_xend_start='maybe'",
            "'maybe' is not something 'on_xend_start' can do",
        ),
        (
            "autostart_delay=4000",
            "'autostart_delay' is 4000; it must be from 0 to 3600",
        ),
    ] {
        assert!(complaints(&domain(more)).contains(complaint), "{more}");
    }
}
