/** The agent's own version, as polls and `--version` say it. A test holds it to package.json. */
export const AGENT_VERSION = '0.1.0';
