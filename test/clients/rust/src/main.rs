//! The AWS SDK for Rust with its default chain, as one line of JSON.
use aws_config::BehaviorVersion;
use aws_credential_types::provider::ProvideCredentials;
use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig};
use std::error::Error;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("--version") {
        return println!("aws-config {}", locked_version());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(access_key()) {
        Ok(key) => println!("{{\"accessKeyId\":{key:?}}}"),
        Err(error) => println!("{{\"error\":{:?}}}", error.to_string()),
    }
}

/// Of the lock file that it was built by.
fn locked_version() -> &'static str {
    let (_, after) = include_str!("../Cargo.lock").split_once("name = \"aws-config\"\nversion = \"").expect("a lock");
    after.split('"').next().expect("a version")
}

async fn access_key() -> Result<String, Box<dyn Error>> {
    // As the SDK makes its own client, but without TLS: nothing but the metadata service is there to be found.
    let client = Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.build_http()
    });
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(client).load().await;
    let provider = config.credentials_provider().ok_or("no provider")?;
    Ok(provider.provide_credentials().await?.access_key_id().to_owned())
}
