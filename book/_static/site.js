// Names for the theme's controls that have only an icon, so that a screen reader can say what they do.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("nav summary").forEach((summary) => {
    const link = summary.parentElement.parentElement.querySelector("a");
    const chapter = link ? link.textContent.trim() : "this part";
    summary.setAttribute("aria-label", "Show or hide the pages of " + chapter);
  });
  document.querySelectorAll("button:not([aria-label]), label.overlay:not([aria-label])").forEach((control) => {
    const name = control.title || control.dataset.bsTitle || control.dataset.bsOriginalTitle;
    if (!control.textContent.trim() && name) control.setAttribute("aria-label", name);
  });
  document.querySelectorAll("div.output pre, div.cell_input pre").forEach((block) => {
    if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;  // a box that scrolls must be reachable by keyboard
  });
});
