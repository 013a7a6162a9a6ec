// The editor of one post: words, types, boxes. Runs as the body of a function with `element`, `trigger`, `props` and
// `watch` (Gradio's gr.HTML). Texts only ever become text nodes. Offsets are code points, boxes pixels of the image.
const own = `gm${Math.random().toString(36).slice(2)}`;
let post = null, chars = [], entities = [], saved = "", past = [], chosen = -1, box = 0, sel = null, cursor = 0,
  drawing = false, warned = false, said = "", bad = false, fresh = null, asked = "", drawn = null;
const unsaved = new Map();  // post id -> its changed entities, if the server showed another post before they were saved
const discarded = new Map();  // post id -> what its saved correction was, and what the page showed, when it was discarded

const make = (name, options = {}, ...children) => {
  const { cls, on = {}, ...attributes } = options;
  const made = document.createElement(name);
  if (cls) made.className = cls;
  for (const [key, value] of Object.entries(attributes)) if (value !== false && value != null) made.setAttribute(key, value === true ? "" : value);
  for (const [kind, handler] of Object.entries(on)) made.addEventListener(kind, handler);
  made.append(...children);
  return made;
};
const button = (text, act, options = {}) => make("button", { type: "button", on: { click: act }, ...options }, text);
const words = (start, end) => chars.slice(start, end).join("");
const spanOf = (entity) => words(entity.start, entity.end);
const colour = (name) => (post.types.find((type) => type.name === name) || { colour: "#6b7280" }).colour;
const copy = (value) => JSON.parse(JSON.stringify(value));
const plain = () => entities.map(({ start, end, type, boxes }) => ({ start, end, type, boxes }));
const state = () => JSON.stringify(plain());
const dirty = () => state() !== saved;
const root = () => element.querySelector(".gm-ed");
const say = (text, isBad = false) => { said = text; bad = isBad; };
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const round = (value) => Math.round(value * 10) / 10;

function change(act) {
  past.push(copy(entities));
  const kept = entities[chosen];
  act();
  entities.sort((a, b) => a.start - b.start || a.end - b.end);
  if (kept && entities.includes(kept)) chosen = entities.indexOf(kept);
  chosen = Math.min(chosen, entities.length - 1);
  warned = false;
}
function undo() {
  if (!past.length) return;
  const kept = entities[chosen], before = past.pop();
  entities = before.saved ? copy(before.shown) : before; choose(kept ? same(kept) : -1); say("Undone.");
  if (before.saved) {  // the step is a discarded correction, which is saved again
    emit("gm_save", { entities: JSON.parse(before.saved), next: false }); asked = before.saved;
  }
  render();
}
function track(move, done) {  // until the pointer is released; a post that is shown meanwhile is left alone
  const ends = ["pointerup", "pointercancel"], shown = post;
  const go = (event) => { if (post === shown) move(event); };
  const stop = () => {
    document.removeEventListener("pointermove", go);
    for (const kind of ends) document.removeEventListener(kind, stop);
    if (post === shown) done();
  };
  document.addEventListener("pointermove", go);
  for (const kind of ends) document.addEventListener(kind, stop);
}
function choose(index, at = 0) { chosen = index; box = at; drawing = false; }

// ---- words ----
function place(index) { return post.pieces[index]; }
function selected() {
  if (!sel) return null;
  const [first, last] = [Math.min(...sel), Math.max(...sel)];
  return { start: place(first)[0], end: place(last)[1] };
}
function same(range, but = -1) { return entities.findIndex((e, n) => n !== but && e.start === range.start && e.end === range.end); }
function add(type) {
  const range = selected();
  if (!range) return;
  const there = same(range);
  if (there >= 0) { change(() => { entities[there].type = type; }); choose(there); say(`The type of “${spanOf(range)}” is ${type}.`); }
  else {
    const made = { ...range, type, boxes: [] };
    change(() => entities.push(made));
    choose(entities.indexOf(made)); say(`Added “${spanOf(made)}” as ${type}, not shown.`);
  }
  sel = null; render();
}
function respan() {
  const range = selected(), entity = entities[chosen];
  if (!range || !entity) return;
  if (same(range, chosen) >= 0) { say("Another entity already has these words.", true); render(); return; }
  change(() => Object.assign(entity, range)); sel = null; say(`The words are now “${spanOf(entity)}”.`); render();
}
function wordAt(event) {
  const found = document.elementFromPoint(event.clientX, event.clientY);
  return found && found.closest && found.closest(".gm-ed") === root() && found.classList.contains("gm-w") ? Number(found.dataset.i) : null;
}
function textDown(event) {
  if (event.button) return;
  const at = wordAt(event);
  if (at == null) { sel = null; render(); return; }
  sel = event.shiftKey && sel ? [sel[0], at] : [at, at]; cursor = at;
  const inside = entities.findIndex((e) => e.start <= place(at)[0] && place(at)[1] <= e.end);
  if (inside >= 0 && !event.shiftKey) choose(inside);
  track((moved) => {
    const over = wordAt(moved);
    if (over != null && sel && sel[1] !== over) { sel = [sel[0], over]; cursor = over; marks(); }
  }, () => { render(); focusOn(".gm-ed-text"); });
  marks();
}
function textKey(event) {
  if (!post.pieces.length || event.ctrlKey || event.metaKey || event.altKey) return;
  const last = post.pieces.length - 1, rtl = getComputedStyle(event.currentTarget).direction === "rtl";
  const by = { ArrowRight: rtl ? -1 : 1, ArrowLeft: rtl ? 1 : -1, ArrowDown: 5, ArrowUp: -5 }[event.key];
  const goal = by ? cursor + by : { Home: 0, End: last }[event.key];
  if (goal !== undefined) {
    const from = sel ? sel[0] : cursor;
    cursor = clamp(goal, 0, last);
    sel = event.shiftKey ? [from, cursor] : [cursor, cursor];
    event.preventDefault(); select();
  } else if (/^[1-9]$/.test(event.key) && sel && post.types[event.key - 1]) {
    event.preventDefault(); event.stopPropagation(); add(post.types[event.key - 1].name);
  } else if (event.key === "Escape") { sel = null; select(); }
}
function marks() {  // only what changed, so that a drag keeps its elements and a key does not draw a long post anew
  const range = sel ? [Math.min(...sel), Math.max(...sel)] : [0, -1], { view, words, places, at } = drawn;
  for (const [from, to] of [places, range]) for (let index = from; index <= to; index++) {
    const on = range[0] <= index && index <= range[1];
    words[index].classList.toggle("gm-sel", on); words[index].setAttribute("aria-selected", on);
  }
  words[at]?.classList.remove("gm-cur"); words[cursor]?.classList.add("gm-cur");
  if (words[cursor]) view.setAttribute("aria-activedescendant", words[cursor].id);
  drawn.places = range; drawn.at = cursor;
}
function select() { marks(); root().querySelector(".gm-ed-tools").replaceWith(toolsView()); }
function textView() {  // drawn anew only if the entities or the chosen one changed
  const name = `${post.serial} ${chosen} ${state()}`;
  if (!drawn || drawn.name !== name) {
    const view = drawText();
    drawn = { name, view, words: view.querySelectorAll(".gm-w"), places: [0, -1], at: cursor };
  }
  marks();
  return drawn.view;
}
function drawText() {
  const view = make("p", {
    cls: "gm-ed-text", dir: "auto", tabindex: 0, role: "listbox", "aria-multiselectable": "true",
    "aria-label": "Words of the post. Arrow keys move, Shift extends, a digit marks the words as an entity",
    on: { pointerdown: textDown, keydown: textKey },
  });
  let at = 0;
  const coming = [...entities].sort((a, b) => a.start - b.start), current = new Set();
  post.pieces.forEach(([start, end], index) => {
    view.append(words(at, start));
    while (coming.length && coming[0].start <= start) current.add(coming.shift());
    for (const entity of current) if (entity.end < end) current.delete(entity);
    const over = [...current];
    const main = over.includes(entities[chosen]) ? entities[chosen] : over[0];
    const styles = { "gm-in": main, "gm-on": main && main === entities[chosen] };
    const cls = ["gm-w", ...Object.keys(styles).filter((name) => styles[name])].join(" ");
    const word = make("span", { cls, id: `${own}w${index}`, role: "option", "aria-selected": "false", "data-i": index }, words(start, end));
    if (main) word.style.setProperty("--gm-c", colour(main.type));
    view.append(word);
    for (const entity of over.filter((one) => one.end === end)) {
      const type = make("sup", { "aria-hidden": "true" }, entity.type);
      type.style.color = `color-mix(in srgb, ${colour(entity.type)} 55%, currentColor)`;
      view.append(type);
    }
    at = end;
  });
  view.append(words(at, chars.length));
  return view;
}
function toolsView() {
  const range = selected();
  if (!range) return make("div", { cls: "gm-ed-tools" }, make("span", {}, "Select words to mark them as an entity."));
  const kinds = post.types.map((type, index) => {
    const made = button(make("i"), () => add(type.name), { "data-add": type.name, title: index < 9 ? `Key ${index + 1}` : false });
    made.append(type.name); made.style.setProperty("--gm-c", type.colour); return made;
  });
  const more = entities[chosen] && same(range) < 0 ? [button(`Use as the words of “${spanOf(entities[chosen])}”`, respan, { "data-act": "respan" })] : [];
  return make("div", { cls: "gm-ed-tools" }, make("span", {}, "Mark “", make("bdi", {}, spanOf(range)), "” as"), ...kinds, ...more);
}

// ---- boxes ----
function size(number) { return post.images[number - 1]; }
function putBox(index, at, corners) {
  const target = entities[index].boxes[at], image = size(target.picture);
  let [x1, y1, x2, y2] = corners;
  if (x1 > x2) [x1, x2] = [x2, x1];
  if (y1 > y2) [y1, y2] = [y2, y1];
  target.box = [clamp(x1, 0, image.width), clamp(y1, 0, image.height), clamp(x2, 0, image.width), clamp(y2, 0, image.height)].map(round);
}
function shifted([x1, y1, x2, y2], dx, dy, image) {
  const x = clamp(dx, -x1, image.width - x2), y = clamp(dy, -y1, image.height - y2);
  return [x1 + x, y1 + y, x2 + x, y2 + y];
}
function laid(view, corners, image) {
  const [x1, y1, x2, y2] = corners;
  const across = (value) => `${100 * value / image.width}%`, down = (value) => `${100 * value / image.height}%`;
  Object.assign(view.style, { left: across(x1), top: down(y1), width: across(x2 - x1), height: down(y2 - y1) });
  view.classList.toggle("gm-top", y1 / image.height < .08);
}
function drag(event, number, act, done) {  // act(x, y, dx, dy) in pixels of the image
  const image = size(number), frame = event.currentTarget.closest(".gm-ed-pic").getBoundingClientRect();
  const raw = (e) => [(e.clientX - frame.left) / frame.width * image.width, (e.clientY - frame.top) / frame.height * image.height];
  const inside = ([x, y]) => [clamp(x, 0, image.width), clamp(y, 0, image.height)];
  const from = raw(event);
  let moved = false;
  track((e) => {
    moved ||= Math.hypot(e.clientX - event.clientX, e.clientY - event.clientY) > 3;
    const to = raw(e);
    if (moved) act(inside(from), inside(to), to[0] - from[0], to[1] - from[1]);
  }, () => done(moved));
  event.preventDefault(); event.stopPropagation();
}
function grab(event, index, at, corner) {
  if (event.button) return;
  const entity = entities[index], before = copy(entities), { picture, box: from } = copy(entity.boxes[at]);
  const wasOn = chosen === index && box === at;
  const view = element.querySelector(`[data-box="${index}-${at}"]`);
  drag(event, picture, (_, to, dx, dy) => {
    const resized = () => ["w", "n", "e", "s"].map((side, place) => (corner.includes(side) ? to[place % 2] : from[place]));
    putBox(index, at, corner ? resized() : shifted(from, dx, dy, size(picture)));
    laid(view, entity.boxes[at].box, size(picture));
  }, (moved) => {
    if (moved) { past.push(before); warned = false; say(`Box of “${spanOf(entity)}”: ${entity.boxes[at].box.map(Math.round).join(", ")}.`); }
    if (moved || !wasOn) { choose(index, at); render(); }
    focusOn(`[data-box="${index}-${at}"]`);
  });
}
function draw(event, number) {
  if (event.button || event.target.closest(".gm-b")) return;
  if (event.pointerType !== "mouse" && !drawing) return;  // a finger scrolls
  if (chosen < 0) { say("Choose an entity first. Then draw its box.", true); render(); return; }
  const entity = entities[chosen], before = copy(entities);
  let at = -1;
  drag(event, number, (start, to) => {
    if (at < 0) { at = entity.boxes.length; entity.boxes.push({ picture: number, box: [0, 0, 0, 0] }); }
    putBox(chosen, at, [...start, ...to]);
    if (!fresh) {
      fresh = make("div", { cls: "gm-b gm-on" });
      fresh.style.setProperty("--gm-c", colour(entity.type));
      element.querySelector(`[data-pic="${number}"]`).append(fresh);
    }
    laid(fresh, entity.boxes[at].box, size(number));
  }, () => {
    fresh = null;
    if (at < 0) return;
    const [x1, y1, x2, y2] = entity.boxes[at].box;
    if (x2 - x1 < 2 || y2 - y1 < 2) { entities = before; say("The box is too small.", true); }
    else { past.push(before); warned = false; choose(chosen, at); say(`Drew a box of “${spanOf(entity)}”.`); }
    drawing = false; render(); focusOn(`[data-box="${chosen}-${at}"]`);
  });
}
function middleBox(number) {
  const entity = entities[chosen], image = size(number);
  change(() => entity.boxes.push({ picture: number, box: [image.width / 3, image.height / 3, image.width * 2 / 3, image.height * 2 / 3].map(round) }));
  choose(chosen, entity.boxes.length - 1); say("Added a box in the middle. Arrow keys move it; with Shift, they change its size."); render();
  focusOn(`[data-box="${chosen}-${box}"]`);
}
function removeBox(index, at) {
  change(() => entities[index].boxes.splice(at, 1)); choose(index);
  say(`Removed a box of “${spanOf(entities[index])}”.`); render(); focusOn(`[data-entity="${index}"]`);
}
function boxKey(event, index, at) {
  const entity = entities[index], { picture, box: corners } = entity.boxes[at], image = size(picture);
  const by = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
  if (by) {
    const step = Math.max(1, Math.max(image.width, image.height) / (event.altKey ? 400 : 100));
    const [x1, y1, x2, y2] = corners;
    const [dx, dy] = [by[0] * step, by[1] * step];
    const resized = [x1, y1, Math.max(x1 + 2, x2 + dx), Math.max(y1 + 2, y2 + dy)];
    change(() => putBox(index, at, event.shiftKey ? resized : shifted(corners, dx, dy, image)));
    choose(index, at); say(`Box: ${entity.boxes[at].box.map(Math.round).join(", ")}.`);
  } else if (event.key === "Delete" || event.key === "Backspace") { event.preventDefault(); removeBox(index, at); return; }
  else return;
  event.preventDefault(); event.stopPropagation(); render();
}
function imageView(image, number) {
  if (image.error) return make("p", { cls: "gm-ed-note gm-bad" }, image.error);
  const on = drawing && chosen >= 0, alt = post.images.length > 1 ? `Image ${number} of the post` : "Image of the post";
  const view = make("div", {
    cls: `gm-ed-pic${on ? " gm-drawing-now" : ""}`, "data-pic": number,
    on: { pointerdown: (event) => draw(event, number), mousedown: (event) => event.preventDefault() },
  }, make("img", { src: image.uri, alt, draggable: "false" }));
  view.style.setProperty("--r", image.width / image.height);
  if (on) view.style.setProperty("--gm-c", colour(entities[chosen].type));
  entities.forEach((entity, index) => entity.boxes.forEach((item, at) => {
    if (item.picture !== number) return;
    view.append(boxView(entity, index, at, image));
  }));
  return view;
}
function boxView(entity, index, at, image) {
  const isOn = index === chosen && at === box, corners = entity.boxes[at].box;
  const place = `${spanOf(entity)}, ${entity.type}: ${corners.map(Math.round).join(", ")}`;
  const made = make("div", {
    cls: `gm-b${isOn ? " gm-on" : ""}`, tabindex: 0, role: "button", "aria-pressed": String(isOn), "data-box": `${index}-${at}`,
    "aria-label": `Box of ${place}. Arrow keys move it, Shift with an arrow key changes its size, Delete removes it`,
    on: {
      pointerdown: (event) => grab(event, index, at, ""),
      keydown: (event) => boxKey(event, index, at),
      focus: () => { if (chosen !== index || box !== at) { choose(index, at); render(); } },
    },
  }, make("b", { "aria-hidden": "true" }, make("bdi", {}, spanOf(entity))));
  made.style.setProperty("--gm-c", colour(entity.type)); laid(made, corners, image);
  if (isOn) for (const corner of ["nw", "ne", "sw", "se"]) {
    made.append(make("span", { cls: "gm-h", "data-d": corner, on: { pointerdown: (event) => grab(event, index, at, corner) } }));
  }
  return made;
}

// ---- list and actions ----
function typeView(entity, index) {
  const kinds = post.types.map((type) => make("option", { value: type.name, selected: type.name === entity.type }, type.name));
  if (!post.types.some((type) => type.name === entity.type)) kinds.unshift(make("option", { value: entity.type, selected: true }, entity.type));
  const choice = (event) => {
    const value = event.target.value;
    change(() => { entity.type = value; });
    say(`The type of “${spanOf(entity)}” is ${value}.`); render();
  };
  return make("select", { "aria-label": `Type of ${spanOf(entity)}`, "data-type": index, on: { change: choice } }, ...kinds);
}
function remove(index) {
  say(`Removed “${spanOf(entities[index])}”.`);
  change(() => entities.splice(index, 1)); choose(-1); render(); focusOn(".gm-ed-text");
}
function hide(index) {
  change(() => { entities[index].boxes = []; });
  say(`“${spanOf(entities[index])}” is not shown.`); render(); focusOn(`[data-entity="${index}"]`);
}
function boxTools(entity, index) {
  const count = entity.boxes.length, several = post.images.length > 1;
  const images = post.images.map((image, place) => place + 1).filter((number) => !size(number).error);
  if (!images.length) return null;
  const toggle = () => { drawing = !drawing; say(drawing ? "Drag over the image." : ""); render(); };
  const tools = [button(drawing ? "Stop drawing" : count ? "Draw another box" : "Draw its box", toggle, { "aria-pressed": String(drawing), "data-act": "draw" })];
  for (const number of images) {
    tools.push(button(`Box by keyboard${several ? ` in image ${number}` : ""}`, () => middleBox(number), { "data-act": `middle-${number}` }));
  }
  const last = () => removeBox(index, Math.min(box, count - 1));
  if (count) tools.push(button(count > 1 ? "Remove this box" : "Remove the box", last, { "data-act": "unbox" }));
  if (count > 1) tools.push(button("Not shown", () => hide(index), { "data-act": "hide" }));
  return make("div", { cls: "gm-ed-row" }, ...tools);
}
function rowView(entity, index) {
  const isOn = index === chosen, count = entity.boxes.length;
  const sure = entity.confidence == null ? "" : ` · ${Math.round(100 * entity.confidence)} % sure`;
  const span = button(make("bdi", {}, spanOf(entity)), () => { choose(index); sel = null; render(); }, { cls: "gm-span", "aria-pressed": String(isOn), "data-entity": index });
  const shown = make("small", {}, (count > 1 ? `shown, ${count} boxes` : count ? "shown" : "not shown") + sure);
  const gone = button("Remove", () => remove(index), { "aria-label": `Remove ${spanOf(entity)}`, "data-act": "remove" });
  const item = make("li", { cls: isOn ? "gm-on" : "" }, make("div", { cls: "gm-ed-row" }, span, shown, typeView(entity, index), gone));
  item.style.setProperty("--gm-c", colour(entity.type));
  const tools = isOn && boxTools(entity, index);
  if (tools) item.append(tools);
  return item;
}
function emit(kind, data) { asked = state(); trigger(kind, { id: post.id, revision: post.revision, ...data }); }
function discard() {
  discarded.set(post.id, { text: post.text, saved, shown: copy(entities) });
  emit("gm_discard", {});
}
function send(next) { emit("gm_save", { entities: plain(), next }); }
function leave(by) {
  if (dirty() && !warned) { warned = true; say("The changes are not saved. Save them (S), or do this again to discard them.", true); render(); return; }
  emit("gm_step", { by });
}
function actionsView() {
  const save = button(post.review ? "Save and next" : "Save correction", () => send(post.review), { cls: "gm-main", "data-act": "save" });
  const more = [button("Undo", undo, { "data-act": "undo", disabled: !past.length })];
  if (post.done) more.push(button("Discard saved correction", discard, { "data-act": "discard" }));
  if (!post.review) return make("div", { cls: "gm-ed-actions" }, save, ...more);
  const accept = button("Accept as it is", () => send(true), { "data-act": "accept", title: "Key A" });
  const previous = button("Previous", () => leave(-1), { "data-act": "previous", title: "Key P" });
  const next = button("Next", () => leave(1), { "data-act": "next", title: "Key N" });
  return make("div", { cls: "gm-ed-actions" }, previous, dirty() ? save : accept, next, ...more);
}
function keysView() {
  const review = [["A", "accept the post as it is, open the next one"], ["S", "save, open the next post"], ["N, P", "next, previous post"]];
  const keys = [
    ...(post.review ? review : [["S", "save"]]),
    ["arrow keys", "on the words: select; with Shift: select more. On a box: move it; with Shift: change its size; with Alt: in small steps"],
    ["1 – 9", "mark the selected words with a type"], ["Delete", "on a box: remove it"], ["Ctrl Z", "undo"],
  ];
  const list = make("dl");
  for (const [key, text] of keys) list.append(make("dt", {}, make("kbd", {}, key)), make("dd", {}, text));
  const open = !!(root().querySelector("details") || {}).open;
  return make("details", { open }, make("summary", {}, "Keys"), list);
}
function focusOn(selector) {
  const found = element.querySelector(selector);
  if (found) found.focus({ preventScroll: true });
  return !!found && document.activeElement === found;
}
function focused() {  // a selector of the focused element, which finds its successor after the view was replaced
  const now = document.activeElement;
  if (!root().contains(now)) return "";
  const name = ["act", "entity", "type", "box", "add"].find((name) => name in now.dataset);
  return name ? `[data-${name}="${CSS.escape(now.dataset[name])}"]` : now.matches("summary") ? "summary" : ".gm-ed-text";
}

function render() {
  const view = root();
  if (!view) return;
  const focus = focused(), live = element.querySelector(".gm-vh");
  if (live.textContent !== said) live.textContent = said;
  if (!post) { view.replaceChildren(); return; }
  const status = dirty() ? "changed, not saved" : post.done ? "saved" : "not corrected yet";
  const pictures = post.images.map((image, index) => imageView(image, index + 1));
  const side = make("div", {}, textView(), toolsView(),
    entities.length ? make("ul", { cls: "gm-ed-list", "aria-label": "Entities" }, ...entities.map(rowView)) : make("p", {}, "No entities."),
    make("p", { cls: `gm-ed-note${bad ? " gm-bad" : ""}`, "aria-hidden": "true" }, said), actionsView(), keysView());
  const body = make("div", { cls: `gm-ed-body${pictures.length ? "" : " gm-nopics"}` }, ...(pictures.length ? [make("div", { cls: "gm-ed-pics" }, ...pictures)] : []), side);
  view.replaceChildren(make("p", { cls: "gm-ed-head" }, make("b", {}, make("bdi", {}, post.id)), make("span", { "data-status": true }, status)), body);
  if (focus && !focusOn(focus)) focusOn(".gm-ed-text");
}
function keep(next) {  // changes that were neither saved nor discarded on purpose
  const settled = !!post && !!next && next.settled === post.id;
  if (next && next.settled) unsaved.delete(next.settled);
  if (!post || !dirty() || (settled && state() === asked)) return;  // otherwise it was changed since the server was asked
  unsaved.set(post.id, { text: post.text, revision: settled ? null : post.revision, entities: copy(entities) });
  if (!next || next.id !== post.id) say(`The changes of ${post.id} are not saved. They are kept until the page is closed.`, true);
}
function show() {
  const data = props.value, next = data && typeof data === "object" && Array.isArray(data.pieces) ? data : null;
  say(""); keep(next);
  post = next; fresh = null; drawn = null;
  if (post) {
    const kept = unsaved.get(post.id), seen = !kept || kept.revision === null || kept.revision === post.revision;
    chars = Array.from(post.text); entities = copy(post.entities); saved = state();
    past = []; sel = null; cursor = 0; drawing = false; warned = false;
    const gone = discarded.get(post.id);
    if (gone && !post.done && gone.text === post.text) {
      past.push(gone);
      if (post.settled === post.id) say("Discarded. Undo saves the correction again.");
    } else discarded.delete(post.id);
    if (kept && kept.text === post.text) {
      past.push(seen ? entities : kept.entities);
      if (seen) { entities = kept.entities; say("Your unsaved changes are back. Undo removes them."); }
      else say("This post was corrected elsewhere: this is that correction. Undo shows your changes instead.", true);
    }
    if (seen) unsaved.delete(post.id);
    choose(entities.length ? 0 : -1);
  }
  render();
}
function pageKey(event) {
  if (!element.isConnected) { document.removeEventListener("keydown", pageKey); return; }
  if (!post || event.defaultPrevented || event.repeat || !element.offsetParent) return;
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && root().contains(document.activeElement)) { event.preventDefault(); undo(); return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable=true]")) return;
  if (!post.review && !root().contains(document.activeElement)) return;
  const accept = () => { if (dirty()) { say("The post was changed. S saves it.", true); render(); } else send(true); };
  const review = { a: accept, n: () => leave(1), p: () => leave(-1) };
  const act = { s: () => send(post.review), ...(post.review ? review : {}) }[event.key.toLowerCase()];
  if (act) { event.preventDefault(); act(); }
}
document.addEventListener("keydown", pageKey);
addEventListener("beforeunload", (event) => { if (element.isConnected && (unsaved.size || (post && dirty()))) event.preventDefault(); });
watch("value", show);
show();
