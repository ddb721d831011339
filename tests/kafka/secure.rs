//! TLS and logins, on an Apache Kafka that asks for both.

use std::process::Command;

use super::fixture::Kafka;
use super::jobs::Job;
use crate::endpoints::Endpoints;
use crate::exactly_once::bidstream;

/// The part of a job file that logs in.
fn login(ca: &str, mechanism: &str, password: &str) -> String {
    format!(
        "    properties: {{ security.protocol: sasl_ssl, ssl.ca.location: '{ca}', sasl.mechanisms: {mechanism}, \
         sasl.username: bidstream, sasl.password: '{password}' }}"
    )
}

fn generate(brokers: &str, topic: &str, ca: &str, mechanism: &str, password: &str) -> Command {
    let mut command = bidstream();
    command.args(["generate", "--events", "100", "--brokers", brokers, "--topic", topic, "--partitions", "1"]);
    for property in ["security.protocol=sasl_ssl", "sasl.username=bidstream", "sasl.password=${KAFKA_PASSWORD}"] {
        command.args(["--property", property]);
    }
    command.args([
        "--property",
        &format!("ssl.ca.location={ca}"),
        "--property",
        &format!("sasl.mechanism={mechanism}"),
    ]);
    command.env("KAFKA_PASSWORD", password);
    command
}

#[test]
fn records_are_sent_and_read_with_tls_and_scram() {
    let kafka = Kafka::secure();
    let (brokers, dir) = kafka.secure_at();
    let [ca, other_ca] = ["ca.pem", "other-ca.pem"].map(|name| dir.join(name).display().to_string());
    for (index, mechanism) in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"].into_iter().enumerate() {
        let topic = format!("secret-{index}");
        let sent = generate(&brokers, &topic, &ca, mechanism, "secret").output().unwrap();
        assert!(sent.status.success(), "{mechanism}: {}", String::from_utf8_lossy(&sent.stderr));
        let job = Job::new(&brokers, &format!("{{ {topic}: protobuf }}"), &login(&ca, mechanism, "${KAFKA_PASSWORD}"));
        job.until(&[], 100);
    }

    // What does not fit is said where people look: it is tried again for ever, as a broker may learn of a user later.
    for (ca, password, expected) in
        [(&ca, "wrong", "authentication failed"), (&other_ca, "secret", "certificate verify failed")]
    {
        let endpoints = Endpoints::free();
        let more = format!("{}\n{}", login(ca, "SCRAM-SHA-512", password), endpoints.line());
        let job = Job::new(&brokers, "{ secret-0: protobuf }", &more);
        let run = job.run(&[]);
        endpoints
            .until("/readyz", |answer| answer.starts_with("HTTP/1.1 503") && answer.to_lowercase().contains(expected));
        drop(run);
    }
    let sent = generate(&brokers, "secret-0", &ca, "SCRAM-SHA-512", "wrong").output().unwrap();
    let said = String::from_utf8_lossy(&sent.stderr).to_lowercase();
    assert!(!sent.status.success() && said.contains("authentication failed"), "{said}");
}
