// WebSockets and SOCKS: the agent speaks MQTT over its own verified TLS connection only. Reaching this is a bug.
module.exports = () => {
  throw new Error('not part of the shipped agent');
};
