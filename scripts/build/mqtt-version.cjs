// The MQTT client carries its whole package.json for this one line.
exports.version = 'bundled';
