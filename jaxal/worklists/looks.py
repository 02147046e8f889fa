"""How the readers' pages look, besides what they share with the report, and the one thing that the worklist page does by itself."""

PAGE_STYLE = """
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,34rem),1fr));gap:1rem;align-items:start;margin:1rem 0}
.cards.images{grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr))}
.card{background:var(--card);border-radius:.6rem;padding:.9rem 1rem;min-width:0;border-left:4px solid var(--line);break-inside:avoid}
.card.back{border-left-color:var(--bad)}
.card.next{border-left-color:var(--good)}
.card.done{opacity:.75}
.card h2{border:0;margin:0;padding:0;font-size:1.1rem;display:flex;flex-wrap:wrap;gap:.2rem .6rem;align-items:baseline}
.card h2 span{overflow-wrap:anywhere;min-width:0}
.card h2 small{font-weight:400;font-size:.85rem;color:var(--soft)}
.card p{margin:.4rem 0}
.returned{color:var(--bad);font-weight:600}
.reason{color:var(--ink)}
.picture{margin:.6rem 0 0;padding:0;max-width:46rem}
.picture img{width:100%;height:auto;display:block;border-radius:.25rem;background:#000}
.picture figcaption{margin-top:.3rem}
.picture.images{max-width:10rem}
.swatch{display:inline-block;width:.8em;height:.8em;border-radius:.15em;vertical-align:-.05em;margin-right:.25em;border:1px solid #0006;print-color-adjust:exact}
.classes{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.9rem;padding:0;margin:.5rem 0;list-style:none}
.copy{display:flex;gap:.5rem;align-items:flex-start;margin:.3rem 0 .7rem}
.copy code{flex:1;min-width:0;background:var(--back);border:1px solid var(--line);border-radius:.35rem;padding:.45rem .6rem;font:.8rem/1.45 ui-monospace,monospace;overflow-wrap:anywhere;white-space:pre-wrap;user-select:all}
code{overflow-wrap:anywhere}
button{font:inherit;color:var(--ink);background:var(--back);border:1px solid var(--line);border-radius:.4rem;padding:.35rem .7rem;cursor:pointer}
.copy button{font-size:.85rem;flex:none;min-width:5rem}
button:hover{border-color:var(--soft)}
:is(a,button,summary,code):focus-visible{outline:2px solid var(--good);outline-offset:2px}
a{color:var(--good)}
ol.ways{padding-left:1.3rem}
ol.ways>li{margin:.5rem 0}
@media(max-width:30rem){.copy{flex-direction:column;align-items:stretch;gap:.25rem}.copy button{align-self:flex-start}.card{padding:.7rem .75rem}}
@media print{.cards{display:block}.card{margin:.5rem 0}.copy button{display:none}.card{border:1px solid var(--line);border-left-width:4px;padding:.5rem}.card.done{opacity:1}.picture{max-width:11cm}.copy code{font-size:7pt;padding:.2rem .3rem}}
"""

COPY_SCRIPT = """
for(const button of document.querySelectorAll(".copy button"))button.addEventListener("click",async()=>{const code=button.parentElement.querySelector("code");
try{await navigator.clipboard.writeText(code.textContent)}catch{const range=document.createRange();range.selectNodeContents(code);const chosen=getSelection();chosen.removeAllRanges();chosen.addRange(range);document.execCommand("copy")}
button.textContent="Copied";setTimeout(()=>button.textContent="Copy",1500)});
addEventListener("beforeprint",()=>document.querySelectorAll("details").forEach(part=>part.open=true));
"""
