// Timers in a browser's worker. Node's own never slow down, and the MQTT client takes them unless told otherwise.
exports.setInterval = setInterval;
exports.clearInterval = clearInterval;
