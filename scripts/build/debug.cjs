// The MQTT client's debug log: the agent gives it none, and reads no DEBUG variable from the environment.
const silent = () => {};
module.exports = () => silent;
