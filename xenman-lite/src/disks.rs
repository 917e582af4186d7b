// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks of a domain's configuration that `xenman.conf` has names for: what stands for a name is put in its place, for the
//! host does not know the names.

use crate::{conf::Conf, problem::Problem};
use mgmt_proto::config::{ConfigFile, Node, Value};

/// A place in a text, the length of what is there, and what is to be there.
pub(crate) type Edit = (usize, usize, String);

/// What is to be changed in a configuration's text, from front to back.
pub(crate) fn edits(conf: &Conf, file: &ConfigFile) -> Result<Vec<Edit>, Problem> {
    let mut edits = Vec::new();
    let disks = file.entries().iter().filter(|entry| entry.key == "disk");
    for node in disks.flat_map(|entry| strings(&entry.node)) {
        if let Some(edit) = edit(conf, file.text(), node)? {
            edits.push(edit);
        }
    }
    Ok(edits)
}

/// The strings of a value: of a list, or it alone.
fn strings(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        _ => std::slice::from_ref(node),
    }
}

fn edit(conf: &Conf, text: &str, node: &Node) -> Result<Option<Edit>, Problem> {
    let Value::String(name) = &node.value else {
        return Ok(None);
    };
    let written = text.get(node.at..).unwrap_or_default();
    let is_written = |quote| written.starts_with(&format!("{quote}{name}{quote}"));
    if !is_written('"') && !is_written('\'') {
        return Ok(None);
    }
    let disk = conf.disk(name)?;
    Ok(disk.map(|disk| (node.at + 1, name.len(), disk)))
}

/// A text with the changes that are in it.
pub(crate) fn apply(text: &str, edits: &[Edit]) -> String {
    let mut changed = text.to_owned();
    for (at, length, disk) in edits.iter().rev() {
        let range = *at..at.saturating_add(*length);
        if changed.get(range.clone()).is_some() {
            changed.replace_range(range, disk);
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::tests::conf;

    const CONF: &str = "[DISK data]\ntarget = phy:/dev/vg0/data\nvdev = xvdb\n\
                        [DISK root]\ntarget = file:/srv/root.img\nvdev: xvda\nmode = r\n[DISK half]\nvdev = xvdc\n";

    fn put(text: &str, overrides: &[&str]) -> Result<String, Problem> {
        let (_folder, conf) = conf(CONF);
        let file = ConfigFile::parse_with("t", text, overrides).unwrap();
        Ok(apply(file.text(), &edits(&conf, &file)?))
    }

    #[test]
    fn names_give_way_to_what_they_stand_for() {
        let text = "disk = [ 'root', 'phy:/dev/sdb,xvdd,w', # data\n \"data\" ]\ndisk += ['other']\nname = 'data'\n";
        let changed = put(text, &[]).unwrap();
        let expected = text
            .replace("'root'", "'file:/srv/root.img,xvda,r'")
            .replace("\"data\"", "\"phy:/dev/vg0/data,xvdb,w\"");
        assert_eq!(changed, expected);
        assert!(ConfigFile::parse("t", &changed).is_ok());
        assert_eq!(
            put("disk = 'data'", &[]).unwrap(),
            "disk = 'phy:/dev/vg0/data,xvdb,w'"
        );
        let changed = put("memory = 1\n", &["disk=['data']"]).unwrap();
        assert!(
            changed.ends_with("disk=['phy:/dev/vg0/data,xvdb,w']\n"),
            "{changed}"
        );
    }

    #[test]
    fn what_is_no_name_stays() {
        for text in [
            "disk = []\n",
            "disk = 3\n",
            "disk = ['a', ['data']]\n",
            "kernel = 'data'\n",
            "disk = ['']\n",
        ] {
            assert_eq!(put(text, &[]).unwrap(), text);
        }
    }

    #[test]
    fn half_a_disk_is_refused() {
        let told = put("disk = ['half']", &[]).unwrap_err().to_string();
        assert!(
            told.contains("there is no 'target' in [DISK half]"),
            "{told}"
        );
    }
}
