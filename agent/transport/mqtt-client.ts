/**
 * The one door to the MQTT client: its class alone, without the code that would dial (ws, socks, tls options of its own).
 * The module is CommonJS with a `default` in it: Node and bundlers hand over the module, other loaders the class.
 */
import imported from 'mqtt/lib/client';

type MqttClientClass = (typeof imported)['default'];
export type MqttClient = InstanceType<MqttClientClass>;

export const MqttClient: MqttClientClass = typeof imported === 'function' ? imported : imported.default;
