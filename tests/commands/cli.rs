//! Commands that need no proxy.

use super::support::proxy::Home;
use super::support::{Recorded, Upstream, llm};
use super::{one, two};

#[test]
fn version_and_help_go_to_stdout() {
    let home = Home::empty("work");
    let version = home.run(&["--version"]).expect_code(0);
    assert_eq!(version.stdout.trim(), format!("qcc {}", env!("CARGO_PKG_VERSION")));
    let help = home.run(&["--help"]).expect_code(0);
    for word in ["proxy", "status", "check", "endpoint", "config", "completions", "qcc proxy start --cluster"]
    {
        assert!(help.stdout.contains(word), "{word}:\n{}", help.stdout);
    }
    for command in ["proxy", "status", "check", "endpoint", "config", "completions"] {
        let help = home.run(&[command, "--help"]).expect_code(0);
        assert!(help.stdout.contains("Usage"), "{command}: {}", help.stdout);
        assert!(!help.stdout.contains('\x1b'), "no colours into a pipe");
    }
}

#[test]
fn a_usage_error_is_2_and_says_what_is_wrong() {
    let home = Home::empty("work");
    for (args, word) in [
        (&["statsu"][..], "status"),
        (&["status", "--jsn"], "--json"),
        (&["endpoint", "dran", "a"], "drain"),
        (&["endpoint", "drain"], "NAME"),
        (&["completions", "nosuch"], "nosuch"),
    ] {
        let done = home.run(args).expect_code(2);
        assert!(done.stderr.contains(word), "{args:?}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{args:?}");
    }
}

#[test]
fn completions_are_written_for_each_shell() {
    let home = Home::empty("work");
    for shell in ["bash", "zsh", "fish"] {
        let done = home.run(&["completions", shell]).expect_code(0);
        assert!(done.stdout.contains("qcc") && done.stdout.contains("endpoint"), "{shell}");
    }
}

#[test]
fn what_needs_a_running_proxy_ends_with_5_without_one() {
    let a = Upstream::healthy();
    let home = Home::new(&one(&a));
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["status", "--cluster", "work"],
        &["proxy", "stop"],
        &["endpoint", "drain", "a"],
        &["endpoint", "recheck", "a", "--cluster", "work"],
    ] {
        let done = home.run(args).expect_code(5);
        assert_ne!(done.stderr, "", "{args:?}");
    }
}

#[test]
fn a_check_needs_no_proxy_and_its_exit_code_says_how_many_are_usable() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let home = Home::new(&two(&a, &b));
    home.run(&["check"]).expect_code(0);
    assert!(a.requests().iter().chain(&b.requests()).all(|request| request.is_model_list()));
    assert_eq!(a.requests()[0].header("x-api-key"), Some("sk-key-of-a-0123456789"));

    a.set(llm::always(401));
    let some = home.run(&["check", "--json"]).expect_code(3);
    let text = some.json().to_string();
    assert!(text.contains("\"a\"") && text.contains("auth"), "{text}");
    let table = home.run(&["check", "--cluster", "work"]).expect_code(3);
    assert!(table.stdout.contains('a') && table.stdout.contains("auth"), "{}", table.stdout);
    b.stop();
    home.run(&["check"]).expect_code(4);
}

#[test]
fn a_check_of_one_endpoint_by_one_method_sends_just_that() {
    let (a, b) = (Upstream::healthy(), Upstream::healthy());
    let home = Home::new(&two(&a, &b));
    home.run(&["check", "a", "--method", "chat"]).expect_code(0);
    assert_eq!((a.matching(Recorded::is_chat_check).len(), a.requests().len()), (1, 1));
    a.set(llm::on_post(|request| llm::say(request, "no code")));
    home.run(&["check", "a", "--method", "chat"]).expect_code(4);
    home.run(&["check", "a", "--method", "model-list"]).expect_code(0);
    assert_eq!(b.requests().len(), 0);
    let unknown = home.run(&["check", "nosuch"]);
    assert!(matches!(unknown.code, Some(1 | 2)) && unknown.stderr.contains("nosuch"), "{unknown:?}");
}
