"""How the page to choose classes looks, and what it does."""

CLICK_STYLE = """
[hidden]{display:none!important}
h1{font-size:1rem;margin:0 0 .3rem;color:var(--soft);font-weight:600}
.lead{margin:.3rem 0 .8rem}
#work{display:grid;grid-template-columns:minmax(0,1fr) minmax(14rem,20rem);gap:1rem;align-items:start}
#work figure{padding:0;overflow:hidden}
#image{display:block;width:100%;height:min(72vh,46rem);object-fit:contain;background:#000}
figcaption{padding:.4rem .6rem}
#classes{display:grid;gap:.45rem;margin:.6rem 0}
button{font:inherit;color:var(--ink);background:var(--back);border:1px solid var(--line);border-radius:.45rem;padding:.5rem .7rem;cursor:pointer}
button:hover{border-color:var(--soft)}
button:disabled{opacity:.45;cursor:default}
button:focus-visible{outline:2px solid var(--good);outline-offset:2px}
#classes button{display:flex;gap:.6rem;align-items:center;text-align:left;border-left:.6rem solid var(--colour);overflow-wrap:anywhere}
#classes button span{min-width:0;flex:1}
#refusals{display:flex;flex-wrap:wrap;gap:.45rem}
#refusals button{display:flex;gap:.6rem;align-items:center}
#classes button[aria-pressed=true],#refusals button[aria-pressed=true]{background:var(--good);color:var(--back);font-weight:600}
kbd{font:.8rem ui-monospace,monospace;border:1px solid currentColor;border-radius:.25rem;padding:0 .35rem;opacity:.8}
#moves,#files{display:flex;flex-wrap:wrap;gap:.45rem;margin:.6rem 0}
#reason{color:var(--ink);margin:.2rem 0}
#returned{color:var(--bad);font-weight:600;margin:.2rem 0}
#returned:empty,#state:empty{display:none}
@media(max-width:46rem){#work{grid-template-columns:minmax(0,1fr);gap:.5rem}#image{height:min(48vh,24rem)}main{padding:.6rem}#classes{grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr))}}
@media print{#moves,#files,#refusals,#classes kbd{display:none}#image{height:12cm}}
"""

# Names come from the data and go to `textContent` only. Time counts while the page is seen, and up to five minutes after the last move.
CLICK_SCRIPT = r"""
"use strict";
const data=JSON.parse(document.getElementById("data").textContent),part=id=>document.getElementById(id),cases=data.cases,names=data.classes.map(entry=>entry[0]),refusals=data.refusals,refusalKeys="-.";
const keys="1234567890qwertyuiopasdfghjklzxcvbnm",served=location.protocol.startsWith("http"),IDLE=300000,WAIT=5000,RETRY=15000;
const nameOf=entry=>entry.case+"~"+entry.reading,place="jaxal:"+JSON.stringify([data.project,data.key,data.reader]);
let kept={answers:{},done:[]},at=0,last=Date.now(),canKeep=true,problem="";
try{const text=localStorage.getItem(place);if(text)kept=JSON.parse(text)}catch{canKeep=false}
const seconds={};
const answerOf=entry=>{const answer=kept.answers[nameOf(entry)];return answer&&(names.includes(answer.class)||refusals.includes(answer.refusal))&&answer.returned===entry.returned.length?answer:undefined};
const store=()=>{try{localStorage.setItem(place,JSON.stringify(kept))}catch{canKeep=false}};
const spend=()=>{const now=Date.now(),entry=cases[at];if(entry&&!document.hidden)seconds[nameOf(entry)]=(seconds[nameOf(entry)]||0)+Math.min(now-last,IDLE)/1000;last=now};
const open=()=>cases.filter(entry=>!answerOf(entry)).length;
const waiting=()=>cases.filter(entry=>answerOf(entry)&&!answerOf(entry).sent).length;
function show(){const entry=cases[at],left=open();
part("lead").textContent=!cases.length?"Nothing to do now.":left?`Choose the class of this image: ${left} of ${cases.length} to do. Press a class's key, or click it.`:served?(waiting()?"All done; the last answers are on their way.":"All done, and all answers have arrived. Thank you!"):"All done. Save your answers as JSON and hand the file in.";
part("work").hidden=part("files").hidden=!cases.length;if(!entry)return;
const answer=answerOf(entry);if(part("image").src!==entry.image)part("image").src=entry.image;part("image").alt=entry.case;
const shrunk=entry.pixels>1024?`; shown at 1024 of ${entry.pixels} pixels`:"";
part("told").textContent=`${entry.case} (${at+1} of ${cases.length}${shrunk})`;part("reason").textContent=entry.reason;
part("returned").textContent=entry.returned.length?"It came back: "+entry.returned.join(" "):"";
[...part("classes").children].forEach((button,number)=>{button.setAttribute("aria-pressed",String(answer?.class===names[number]));
button.lastChild.textContent=names[number]+(entry.guess===names[number]?" (the network's guess)":"")});
[...part("refusals").children].forEach((button,number)=>button.setAttribute("aria-pressed",String(answer?.refusal===refusals[number])));
part("before").disabled=at===0;part("after").disabled=at===cases.length-1;part("undo").disabled=!kept.done.some(name=>cases.some(other=>nameOf(other)===name));
const told=[];if(!canKeep)told.push("This browser keeps nothing: save your answers before you close the page.");if(served&&waiting())told.push(problem||`${waiting()} on the way.`);
part("state").textContent=told.join(" ")}
function go(step){spend();at=Math.min(Math.max(at+step,0),cases.length-1);show()}
function choose(name_,refusal){const entry=cases[at];if(!entry||!(name_||refusal))return;spend();const name=nameOf(entry);
kept.answers[name]={case:entry.case,class:name_||"",refusal:refusal||"",seconds:Math.round(10*((kept.answers[name]?.seconds||0)+(seconds[name]||0)))/10,at:new Date().toISOString().slice(0,19)+"Z",time:Date.now(),returned:entry.returned.length,sent:false};
seconds[name]=0;kept.done=kept.done.filter(other=>other!==name);kept.done.push(name);store();
for(let step=1;step<=cases.length;step++){const next=(at+step)%cases.length;if(!answerOf(cases[next])){at=next;break}}show();setTimeout(send,WAIT)}
function undo(){spend();let name,found=-1;while(found<0&&(name=kept.done.pop())!==undefined)found=cases.findIndex(entry=>nameOf(entry)===name);
if(found<0)return;const answer=kept.answers[name];at=found;problem="";
if(answer&&!answer.sent){seconds[name]=(seconds[name]||0)+answer.seconds;delete kept.answers[name]}store();show();
if(answer?.sent)part("state").textContent="This answer has arrived already. Choose again to correct it."}
let sending=false;
async function send(){if(!served||sending)return;sending=true;let failed="";
try{for(const entry of cases){const answer=answerOf(entry);if(!answer||answer.sent||Date.now()-answer.time<WAIT)continue;
const reply=await fetch("answer",{method:"POST",headers:{"Content-Type":"application/json"},body:JSON.stringify({case:answer.case,class:answer.class,refusal:answer.refusal||"",seconds:answer.seconds,at:answer.at})});
if(!reply.ok){const text=(await reply.text()).slice(0,200);failed=`${entry.case} was not taken: ${text||reply.status}`;continue}
if(kept.answers[nameOf(entry)]===answer){answer.sent=true;store()}}}
catch{failed=`The server does not answer; ${waiting()} kept here and sent later.`}
problem=failed;if(failed)setTimeout(send,RETRY);
sending=false;show();if(waiting()&&!problem)setTimeout(send,WAIT)}
function save(ending,text,type){const link=document.createElement("a");link.href=URL.createObjectURL(new Blob([text],{type}));
link.download=`answers-${data.reader}.${ending}`.replace(/[^\p{L}\p{N}._-]+/gu,"_");link.click();setTimeout(()=>URL.revokeObjectURL(link.href),10000)}
const given=()=>cases.filter(answerOf).map(entry=>{const answer=answerOf(entry);return{case:answer.case,class:answer.class,refusal:answer.refusal||"",seconds:answer.seconds,at:answer.at}});
const cell=value=>{const text=String(value);return/[",\n\r]/.test(text)?'"'+text.replaceAll('"','""')+'"':text};
part("json").addEventListener("click",()=>save("json",JSON.stringify({format:"jaxal answers",version:1,project:data.project,key:data.key,reader:data.reader,answers:given()},null,1),"application/json"));
part("csv").addEventListener("click",()=>save("csv",[["case","class","seconds","at","reader","refusal"],...given().map(row=>[row.case,row.class,row.seconds,row.at,data.reader,row.refusal])].map(row=>row.map(cell).join(",")).join("\n")+"\n","text/csv"));
data.classes.forEach(([name,colour],number)=>{const button=document.createElement("button"),key=document.createElement("kbd"),text=document.createElement("span");
button.type="button";button.style.setProperty("--colour",colour);key.textContent=keys[number]||"";key.hidden=!keys[number];button.append(key,text);button.addEventListener("click",()=>choose(names[number]));part("classes").append(button)});
refusals.forEach((why,number)=>{const button=document.createElement("button"),key=document.createElement("kbd"),text=document.createElement("span");
button.type="button";key.textContent=refusalKeys[number];text.textContent=why[0].toUpperCase()+why.slice(1);button.append(key,text);button.addEventListener("click",()=>choose("",why));part("refusals").append(button)});
part("before").addEventListener("click",()=>go(-1));part("after").addEventListener("click",()=>go(1));part("undo").addEventListener("click",undo);
addEventListener("keydown",event=>{if(event.altKey||((event.ctrlKey||event.metaKey)&&event.key!=="z"))return;
if(event.key==="ArrowLeft")go(-1);else if(event.key==="ArrowRight")go(1);else if(event.key==="Backspace"||((event.ctrlKey||event.metaKey)&&event.key==="z")){event.preventDefault();undo()}
else if(!event.repeat&&event.key.length===1&&!event.ctrlKey&&!event.metaKey){if(keys.includes(event.key))choose(names[keys.indexOf(event.key)]);else if(refusalKeys.includes(event.key))choose("",refusals[refusalKeys.indexOf(event.key)])}});
for(const kind of["pointermove","pointerdown","keydown","wheel"])addEventListener(kind,spend,{passive:true,capture:true});
document.addEventListener("visibilitychange",()=>{if(document.hidden){const hidden=Date.now(),entry=cases[at];if(entry)seconds[nameOf(entry)]=(seconds[nameOf(entry)]||0)+Math.min(hidden-last,IDLE)/1000}last=Date.now()});
addEventListener("beforeunload",event=>{if(served&&waiting())event.preventDefault()});addEventListener("online",send);at=Math.max(cases.findIndex(entry=>!answerOf(entry)),0);show();send();
"""
