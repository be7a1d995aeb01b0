"""Answers in which a model declines to caption: told by how they begin, never by a word in their middle.

Each form needs the model itself ("I", "we", "as an AI") and what it declines to do. A person in a video who says
"I cannot" is quoted later in a caption, and a caption seldom speaks in the first person.
"""

from __future__ import annotations

import re

_UNABLE = (
    r"(?:ca(?:n't|nnot|n not|nt)|could(?:n't| not)|(?:won't|will not)(?: be able to)?|"
    r"(?:am|'m|are|'re) (?:unable to|not (?:able|allowed|permitted) to)|"
    r"(?:do(?: not|n't)) have (?:the ability|the capability|access|permission)(?: to)?)"
)
_I_CANNOT = rf"(?:i|we)(?: |')?{_UNABLE}(?: \w+ly)?"
_MEDIUM = (
    r"(?:videos?|images?|frames?|clips?|pictures?|photos?|footage|visuals?|media|files?|attachments?|urls?|links?)"
)
_LOOK = (
    r"(?:see|view|watch|access|open|play|process|analy[sz]e|interpret|describe|caption|summari[sz]e|find)"
    r"(?:,? (?:or|and) \w+)?"
)
_SERVE = r"(?:assist|comply|fulfil+|provide|generate|engage (?:in|with)|do (?:that|this)|help (?:you )?with)"
_WRITE = r"(?:answer|continue|write|create|produce|discuss|complete|identify|recogni[sz]e)"
_WRITTEN = (
    r"(?:this|that|your|any|an?|real|people|individuals?|captions?|descriptions?|content|who|with|"
    r"the (?:people|person|video|content|question|request))"
)
_SENT = r"(?:attach(?:ed)?|provided?|upload(?:ed)?|shared?|supplied|load)"
_IT_SEEMS = r"(?:it (?:seems|looks|appears)(?: like| that)? )?"
_MODEL = (
    r"(?:ai|artificial intelligence|(?:\w+[ -]){0,2}(?:language|vision) model|ai (?:\w+ )?(?:model|assistant|system))"
)

# in lower case, with straight apostrophes
_FORMS = (
    # I'm sorry, but I can't assist with that.
    rf"(?:i(?:'m| am)|we(?:'re| are)) (?:\w+ )?(?:sorry|afraid)\b.{{0,60}}?\b{_I_CANNOT}\b",
    rf"(?:sorry|apologies|my apologies|i apologi[sz]e|unfortunately)\b.{{0,60}}?\b{_I_CANNOT}\b",
    rf"(?:i(?:'m| am) (?:\w+ )?sorry|sorry|apologies|unfortunately)\b.{{0,40}}?\bno {_MEDIUM}\b",
    # I cannot view the content of this video. I am not able to directly see images.
    rf"{_I_CANNOT} {_LOOK}(?: (?:the )?contents? (?:of|in))? (?:the|this|that|any|your|these|those|an?) "
    rf"(?:\w+ )?{_MEDIUM}\b",
    rf"{_I_CANNOT} {_LOOK} {_MEDIUM}\b",
    # I cannot help with that. I can't identify people.
    rf"{_I_CANNOT} {_SERVE}\b",
    rf"{_I_CANNOT} {_WRITE} {_WRITTEN}\b",
    # I don't have access to the video. I do not see any video attached.
    rf"(?:i|we) (?:do not|don't) have (?:direct |visual )?access to\b.{{0,30}}?\b{_MEDIUM}\b",
    rf"(?:i(?:'m| am) (?:\w+ )?sorry\b[^.]{{0,10}} )?(?:i|we) (?:do not|don't|did not|didn't) "
    rf"(?:see|find|have|receive) (?:any|an?|the) (?:\w+ )?{_MEDIUM}\b.{{0,30}}?{_SENT}",
    # As an AI language model, I cannot watch videos.
    rf"as an? {_MODEL}(?: (?:developed|created|trained|made|built|designed)\b[^,.]{{0,40}})?,? (?:i|my|we|it)\b",
    rf"i(?:'m| am) (?:just |only )?an? (?:\w+[ -]){{0,3}}?(?:{_MODEL}|text-based model)\b.{{0,80}}?\b{_UNABLE}",
    # No video was provided. It looks like the video did not upload. Please provide the video.
    rf"{_IT_SEEMS}(?:there (?:is|was) |there's )?no {_MEDIUM} (?:(?:was|were|is|are|has been|have been) )?{_SENT}\b",
    rf"{_IT_SEEMS}(?:the|your) {_MEDIUM} (?:was|were|is|are|has|have|did)(?: not|n't) (?:been )?{_SENT}\b",
    rf"(?:please|could you(?: please)?|can you(?: please)?) (?:provide|upload|attach)\b.{{0,40}}?\b{_MEDIUM}\b",
    # This request violates our content policy.
    r"(?:this|your|the) (?:content|request|prompt|video)\b.{0,30}?\b(?:violates?|goes against|is against) "
    r"(?:our|my|the|openai's?) (?:\w+ )?(?:polic|guideline|terms|rules)",
    # in Chinese: sorry, I cannot; I cannot view; as an AI
    r"(?:很|非常)?(?:抱歉|对不起).{0,20}(?:无法|不能)|我(?:无法|不能)(?:提供|查看|观看|描述|协助|帮助)",
    r"作为(?:一个|一名)?(?:ai|人工智能|语言模型)",
)
_GREETING = r"(?:(?:hello|hi|hmm|well|sure|of course|certainly|okay|ok|thank you|thanks)\b[^.!?]{0,40}[,.!?] ?)?"
_REFUSAL = re.compile(rf"{_GREETING}(?:{'|'.join(_FORMS)})", re.DOTALL)
_STRAIGHT = str.maketrans(dict.fromkeys("’‘ʼ´`＇", "'"))
_LEADING = " \"'“”«»*_#>-–—:"


def is_refusal(text: str) -> bool:
    """Whether an answer is a refusal instead of a caption.

    Args:
        text: the answer, white space as single blanks.

    >>> is_refusal("I can’t assist with that."), is_refusal("He says: I can’t assist with that.")
    (True, False)
    """
    return _REFUSAL.match(text.translate(_STRAIGHT).lower().lstrip(_LEADING)) is not None
