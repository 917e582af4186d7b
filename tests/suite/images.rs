//! Images in the store: what is kept of them while the machine is off, and the domains that are made from them.

use harness::board::Board;
use harness::operator::{Operator, Trouble};

use crate::stage::SOON;
use crate::store::{Machine, holds};

const TEMPLATE: &str =
    "# $VM_NAME\nname = \"$VM_NAME\"\nmemory = 8\nkernel = \"$IMAGE_LOCATION\"\n";

fn make(operator: Operator<'_>, verb: &str, name: &str) -> Result<(), Trouble> {
    let words = [verb, "--image", "small", "--name", name];
    operator.run(&words).map(drop)
}

fn add(machine: &Machine, operator: Operator<'_>) -> Result<(), Trouble> {
    let (kernel, template) = (machine.kernel("ticker"), machine.file("template", TEMPLATE));
    let mut words = vec!["image", "add", "small", "--kernel", &kernel];
    words.extend(["--config", &template, "--description", "it ticks"]);
    operator.run(&words)?;
    let refused = operator.refused(&words)?;
    holds(refused.contains("already"), &refused)
}

/// An image is added; the power fails; domains are made from it, one of them managed; the image goes, and that one stays.
fn keeps_images(board: Board) {
    let machine = Machine::with_guests(board, &[]);
    machine.on(|operator| add(&machine, operator));
    machine.on(|operator| {
        let listed = operator.run(&["image", "list"])?;
        holds(listed.contains("it ticks"), &listed)?;
        make(operator, "create", "one")?;
        operator.says("one", "tick", SOON)?;
        make(operator, "new", "two")?;
        let folder = machine.file("beside", "") + ".exported";
        operator.run(&["image", "export", "small", &folder])?;
        let template = std::fs::read_to_string(format!("{folder}/vm_conf.template"));
        holds(
            template.is_ok_and(|text| text == TEMPLATE),
            "the template is not what it was",
        )?;
        operator.run(&["image", "rm", "small"])?;
        operator.run(&["destroy", "one"]).map(drop)
    });
    machine.on(|operator| {
        let refused = operator.refused(&["create", "--image", "small", "--name", "three"])?;
        holds(refused.contains("no image 'small'"), &refused)?;
        operator.run(&["start", "two"])?;
        operator.says("two", "tick", SOON)
    });
}

#[test]
fn images_outlive_the_machine_and_their_domains_outlive_them() {
    keeps_images(Board::QemuVirt);
}

#[test]
fn images_outlive_the_machine_and_their_domains_outlive_them_on_x86() {
    keeps_images(Board::QemuQ35);
}
