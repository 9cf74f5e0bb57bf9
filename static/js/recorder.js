// Runs beside the page, in the browser's audio thread: hands on what the microphone hears, as it comes.
class Recorder extends AudioWorkletProcessor {
  process(inputs) {
    const channel = inputs[0]?.[0];
    if (channel) this.port.postMessage(channel.slice());
    return true;
  }
}

registerProcessor("lepton-recorder", Recorder);
