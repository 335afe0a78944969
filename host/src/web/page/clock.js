// A timer in a thread of its own: browsers slow down the timers of hidden pages, and a client that is silent
// for a minute counts as away.
let timer;
onmessage = ({ data }) => {
  clearTimeout(timer);
  timer = setTimeout(() => postMessage(null), data);
};
