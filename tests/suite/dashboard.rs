//! The dashboard and its samples, on a booted machine.

use crate::stage::on_machine;

#[test]
fn one_sample_shows_who_uses_the_machine() {
    on_machine(|stage| {
        stage.create_small("busy", "runaway", "")?;
        let sample = stage.operator.json(&["top", "--once"])?;
        let domains = sample["domains"].as_array().expect("a list");
        let names: Vec<_> = domains.iter().map(|domain| &domain["name"]).collect();
        assert_eq!(names, ["Domain-0", "busy"], "{sample}");
        let percent = |domain: usize| domains[domain]["cpu_percent"].as_f64().expect("a rate");
        assert!(percent(1) > 50.0, "it never waits: {sample}");
        assert!(
            percent(0) + percent(1) < 101.0,
            "there is one CPU: {sample}"
        );
        assert!(domains[1]["exits"].as_u64() > Some(0), "{sample}");
        let uptime = |value: &serde_json::Value| value["uptime_ns"].as_u64().expect("a time");
        assert!(uptime(&domains[1]) < uptime(&sample["host"]), "{sample}");
        stage.do_to("destroy", "busy")
    });
}
