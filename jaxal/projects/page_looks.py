"""How a project's pages look, besides what they share with the report and with the readers' pages, and what they do by themselves."""

from jaxal.report.looks import SCRIPT as SORT_SCRIPT
from jaxal.worklists.looks import COPY_SCRIPT

STYLE = """
:root{--asked:#b26a00;--asked-back:#f7d9a8}
@media(prefers-color-scheme:dark){:root{--asked:#f0b254;--asked-back:#6b4a14}}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.9rem;margin:.6rem 0}
.now{border-left:4px solid var(--good);padding:.1rem 0 .1rem .8rem;margin:.8rem 0;max-width:60rem}
.now .lead{border:0;padding:0;margin:.2rem 0;font-size:1.25rem}
.now .copy{margin:.3rem 0 .2rem}
.then{padding-left:1.3rem;max-width:60rem}
.then li{margin:.3rem 0;overflow-wrap:anywhere}
.then .copy{margin:.2rem 0 .4rem}
.plain{padding-left:1.2rem;margin:.4rem 0;max-width:60rem}
.plain li{margin:.25rem 0;overflow-wrap:anywhere}
.signs{display:flex;flex-wrap:wrap;gap:.4rem;margin:.5rem 0}
.signs button{display:inline-flex;align-items:center;gap:.4rem;font-size:.875rem}
.signs button[aria-pressed=true]{border-color:var(--good);box-shadow:inset 0 0 0 1px var(--good)}
i.labelled,i.asked,i.disputed,i.unlabelled,i.excluded{display:inline-block;flex:none;width:.8rem;height:.8rem;border:1.5px solid var(--soft);border-radius:.15rem;print-color-adjust:exact}
i.labelled{background:var(--good);border-color:var(--good)}
i.asked{border-color:var(--asked);background:linear-gradient(135deg,var(--asked) 50%,var(--asked-back) 50%)}
i.disputed{border-color:var(--bad);background:radial-gradient(circle,var(--bad) 35%,transparent 40%)}
i.excluded{border-color:var(--line);background:linear-gradient(45deg,transparent 42%,var(--soft) 42% 58%,transparent 58%)}
td i.labelled,td i.asked,td i.disputed,td i.unlabelled,td i.excluded{margin-right:.4rem;vertical-align:-.1em}
.map{display:flex;flex-wrap:wrap;gap:3px;margin:.3rem 0 .8rem;max-width:70rem}
.map i{cursor:pointer}
.map i.dim{opacity:.2}
.tools{display:flex;flex-wrap:wrap;gap:.5rem 1rem;align-items:center;margin:.8rem 0 .4rem;font-size:.9rem}
.tools[hidden]{display:none}
.tools label{display:inline-flex;align-items:center;gap:.4rem;min-width:0}
input,select{font:inherit;color:var(--ink);background:var(--back);border:1px solid var(--line);border-radius:.4rem;padding:.3rem .5rem;min-width:0;max-width:100%}
:is(input,select):focus-visible{outline:2px solid var(--good)}
.tools output{color:var(--soft)}
.tall{max-height:32rem;overflow-y:auto;border:1px solid var(--line);border-radius:.4rem}
.tall thead th{position:sticky;top:0;background:var(--back);z-index:1}
.tall thead th:first-child{z-index:2}
.every-case{width:100%}
.every-case :is(td,th),.told :is(td,th){text-align:left}
.every-case .stands,#readers td small{white-space:nowrap}
.every-case td:last-child{overflow-wrap:anywhere;min-width:12rem}
.told td:last-child{overflow-wrap:anywhere;min-width:14rem}
.told td{vertical-align:top}
.charts figure:only-child{max-width:30rem}
.told time{white-space:nowrap}
.charts+.scroll,.charts+details+.scroll{margin-top:.8rem}
@media(max-width:34rem){.told thead{display:none}.told,.told :is(tbody,tr,th,td){display:block;border:0;padding:.05rem 0;min-width:0!important;max-width:none}
.told tr{border-bottom:1px solid var(--line);padding:.4rem 0}.told th{font-weight:600}.every-case td:last-child{min-width:9rem}}
.curve text{font-size:11px;fill:var(--soft);font-family:system-ui,sans-serif}
.curve .grid{stroke:var(--line);fill:none}
.curve .line{stroke:var(--good);fill:none;stroke-width:1.5}
.curve .range{stroke:var(--good);fill:none;stroke-width:1.5;opacity:.75}
.curve .point{fill:var(--good);stroke:var(--good);stroke-width:1.5}
.curve .bare{fill:var(--back)}
.verdict{font-weight:600;white-space:nowrap}
.verdict.reached{color:var(--good)}
.flag{color:var(--bad);font-weight:600}
.on-paper{display:none}
footer{border-top:1px solid var(--line);margin-top:2rem;padding-top:.5rem;font-size:.85rem;color:var(--soft);overflow-wrap:anywhere}
.maps{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:.8rem;margin:.6rem 0}
.maps img{width:100%;height:auto;display:block;border-radius:.25rem;background:#000}
.maps.one{grid-template-columns:1fr}.maps.one img{width:auto;max-width:100%;min-width:min(100%,16rem);max-height:26rem}
.maps figcaption{margin-top:.3rem}
@media print{
nav,.tools,.signs button[aria-pressed]::after{display:none}
.signs button{border:0;padding:0 .8rem 0 0}
.every-case .stands{white-space:normal}
.tall{max-height:none;border:0}
.tall thead th{position:static}
.every-case :is(td,th),.told td{min-width:0!important}
.told th:first-child{min-width:4.5rem}
.every-case tr.quiet{display:none}
.on-paper{display:block}
i.labelled,i.asked,i.disputed,i.unlabelled,i.excluded{width:7pt;height:7pt}
.map{gap:1.5pt}
.maps{grid-template-columns:1fr 1fr}
.told time{white-space:normal}
}
"""

# Search and sorting work on a page from disk. Where a server serves the page it looks every 15 seconds whether there is something new,
# not in a window that nobody sees, not while somebody marks text, and ever more seldom when the server does not answer.
_CASES_SCRIPT = """
const find=document.getElementById("find"),group=document.getElementById("of-group"),shown=document.getElementById("shown"),keys=[...document.querySelectorAll(".signs button")];
if(find){document.querySelector(".tools").hidden=false;
const rows=[...document.querySelectorAll(".every-case tbody tr")],texts=new Map(rows.map(row=>[row,row.textContent.toLowerCase()])),signs=new Map([...document.querySelectorAll(".map i")].map(sign=>[sign.dataset.case,sign]));
const choose=()=>{const words=find.value.toLowerCase().split(/\\s+/).filter(Boolean),wanted=keys.filter(key=>key.ariaPressed==="true").map(key=>key.dataset.status);let count=0;
for(const row of rows){const fits=words.every(word=>texts.get(row).includes(word))&&(!wanted.length||wanted.includes(row.dataset.status))&&(!group||group.value==="*"||group.value===row.dataset.group);
row.hidden=!fits;count+=fits;signs.get(row.cells[0].dataset.value)?.classList.toggle("dim",!fits)}
shown.textContent=count===rows.length?`${count} cases`:`${count} of ${rows.length} cases`};
find.addEventListener("input",choose);group?.addEventListener("change",choose);
for(const key of keys)key.addEventListener("click",()=>{key.ariaPressed=String(key.ariaPressed!=="true");choose()});
for(const map of document.querySelectorAll(".map"))map.addEventListener("click",event=>{const id=event.target.dataset.case;if(id){find.value=find.value===id?"":id;choose();find.focus()}});
choose()}
"""
_LIVE_SCRIPT = """
const stops=()=>[...document.querySelectorAll("a,button,input,select,summary,[tabindex]")];
const state=()=>({find:document.getElementById("find")?.value,group:document.getElementById("of-group")?.value,pressed:[...document.querySelectorAll(".signs [aria-pressed=true]")].map(key=>key.dataset.status),open:[...document.querySelectorAll("details[open]")].map(part=>part.querySelector("summary").textContent),tall:document.querySelector(".tall")?.scrollTop,focus:stops().indexOf(document.activeElement)});
const restore=old=>{for(const part of document.querySelectorAll("details"))part.open=old.open.includes(part.querySelector("summary").textContent);
for(const key of document.querySelectorAll(".signs button"))key.ariaPressed=String(old.pressed.includes(key.dataset.status));
const find=document.getElementById("find"),group=document.getElementById("of-group"),tall=document.querySelector(".tall");
if(find)find.value=old.find??"";if(group&&[...group.options].some(option=>option.value===old.group))group.value=old.group;if(tall)tall.scrollTop=old.tall??0;if(old.focus>=0)stops()[old.focus]?.focus({preventScroll:true})};
if(location.protocol.startsWith("http")){let wait=15000;
const busy=()=>document.hidden||!getSelection().isCollapsed;
const look=async()=>{if(!busy())try{const answer=await fetch(new URL("status.html",location.href),{cache:"no-store"});if(!answer.ok)throw new Error(answer.status);
const fresh=new DOMParser().parseFromString(await answer.text(),"text/html").getElementById("content"),here=document.getElementById("content");
if(!fresh)throw new Error("no page");
if(fresh.dataset.content!==here.dataset.content){const old=state(),place=scrollY;here.replaceWith(document.adoptNode(fresh));restore(old);begin();scrollTo(0,place)}
else document.getElementById("written").replaceWith(document.adoptNode(fresh.querySelector("#written")));
document.getElementById("live").textContent=" This page renews itself.";wait=15000}
catch{document.getElementById("live").textContent=" The server does not answer; the page tries again.";wait=Math.min(2*wait,300000)}
setTimeout(look,wait)};setTimeout(look,wait);document.getElementById("live").textContent=" This page renews itself."}
"""
PAGE_SCRIPT = f"const begin=()=>{{{SORT_SCRIPT}{COPY_SCRIPT}{_CASES_SCRIPT}}};begin();{_LIVE_SCRIPT}"
