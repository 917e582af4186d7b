// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configurations as people write them, and as they should not.

use super::*;
use crate::messages::DomainKind;
use alloc::{format, string::String, string::ToString, vec, vec::Vec};
use proptest::prelude::*;

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
fn what_is_written_reads_the_same() {
    for text in [PVH, HVM] {
        let file = parse(text).unwrap();
        assert!(parse(&file.to_text()).unwrap().same_values(&file));
    }
}

/// Pieces that get a random text deep into the parser.
const PIECES: [&str; 28] = [
    "name",
    "kernel",
    "memory",
    "cpus",
    "disk",
    "vnc",
    "=",
    "+=",
    " ",
    "\n",
    ";",
    "#",
    "[",
    "]",
    ",",
    "'",
    "\"",
    "\\",
    "\\x4",
    "0x",
    "17",
    "99999999999999999999",
    "'a'",
    "ä",
    "\t",
    "import",
    "#:command line\n",
    "\r",
];

#[test]
fn nothing_read_can_hurt() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 33).unwrap()
    };
    for _ in 0..4000 {
        let mut text: Vec<u8> = Vec::new();
        for _ in 0..next() % 40 {
            text.extend_from_slice(PIECES[next() % PIECES.len()].as_bytes());
        }
        fuzz_config(&text);
        let mut text = [PVH, HVM][next() % 2].as_bytes().to_vec();
        for _ in 0..1 + next() % 4 {
            let at = next() % text.len();
            text[at] = u8::try_from(next() % 256).unwrap();
        }
        text.truncate(next() % (text.len() * 2));
        fuzz_config(&text);
    }
    fuzz_config("[".repeat(MAX_TEXT).as_bytes());
    fuzz_config(format!("a={}", "[".repeat(MAX_TEXT - 2)).as_bytes());
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Value::Integer),
        "[^\u{0}\u{80}-\u{9f}]{0,20}".prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop::collection::vec(inner.prop_map(|value| Node { value, at: 0 }), 0..6)
            .prop_map(Value::List)
    })
}

proptest! {
    #[test]
    fn any_value_survives_writing(value in value()) {
        let file = parse(&format!("a = {value}")).unwrap();
        prop_assert!(file.get("a").unwrap().value.same(&value));
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
