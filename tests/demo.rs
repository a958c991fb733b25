//! `qcc demo` is the first command of the README: it must hold on any machine.

use std::process::Command;

#[test]
fn the_demo_keeps_its_promise() {
    let demo = Command::new(env!("CARGO_BIN_EXE_qcc")).arg("demo").env_remove("QCC_LOG").output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&demo.stdout), String::from_utf8_lossy(&demo.stderr));
    assert!(demo.status.success(), "{out}{err}");
    assert!(out.ends_with("\nthe promise held\n") && err.is_empty(), "{out}{err}");
}
