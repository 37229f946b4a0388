use rmcp::handler::server::wrapper::Parameters;
use rmcp::schemars::{self, JsonSchema};
use rmcp::{tool, tool_router};
use serde::Deserialize;

/// A server of the Model Context Protocol with one tool.
pub struct Echo;

#[derive(Deserialize, JsonSchema)]
struct Arguments {
    text: String,
}

#[tool_router(server_handler)]
impl Echo {
    /// Returns its text
    #[tool]
    fn echo(&self, Parameters(Arguments { text }): Parameters<Arguments>) -> String {
        text
    }
}
