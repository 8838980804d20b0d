// The data that a page carries: deflated JSON as base64, in an element of its own. Where the page cannot be set up from
// them, it says why, in place of its note that it is loading.
async function unpack(id, use) {
  try {
    if (typeof DecompressionStream === 'undefined')
      throw new Error('this browser has no DecompressionStream (Chrome or Edge 80, Firefox 113, Safari 16.4 and later do)');
    const text = atob(document.getElementById(id).textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
    const data = await new Response(stream).json();
    document.getElementById(id).remove();
    use(data);
  } catch (error) {
    const note = document.getElementById('loading');
    if (note) Object.assign(note, { textContent: `This page could not be set up: ${error.message}.`, hidden: false });
    throw error;
  }
}
