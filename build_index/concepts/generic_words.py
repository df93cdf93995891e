"""Words that would be useless as the name of a region, whatever the picture shows: they never become concepts.

Lower case, singular where there is one; each set says why its words are out. They were chosen from the most frequent
head nouns and adjectives of captions of fifteen sources.
"""

from build_index.language import Language

MEDIUM = frozenset(
    """
    photo photograph photography image imagery picture pic pix snapshot screenshot screengrab thumbnail clipart
    clip-art vector illustration background backdrop wallpaper foreground footage video stock royalty royalty-free jpg
    jpeg png gif svg eps psd hd uhd 4k 8k render rendering mockup mock-up template closeup close-up portrait caption
    download afp reuters getty alamy shutterstock istock dreamstime pinterest depositphotos img recipe concept idea
    tutorial diy
    """.split()
)
"""The medium or the wrapping, not what is in it. Neither alone nor in a longer concept, but for `THINGS_OF_MEDIA`."""

THINGS_OF_MEDIA = frozenset(
    """
    album booth book camera card cassette console editor frame game gamer market pot car projector recorder screen
    store system
    """.split()
)
"""What makes the name of a medium the name of a thing: picture frame, video game, stock car."""

RELATION = frozenset(
    """
    group couple pair bunch lot lots set row number variety array series collection selection assortment range batch
    dozen hundred thousand million billion plenty amount rest majority portion part piece bit half quarter third
    section segment member multitude type kind sort style version size shape color colour pattern design shade tone
    edition example sample copy unit total clip

    side top front back rear middle center centre bottom end edge corner inside outside interior exterior left right
    area region zone space place spot location position direction distance height length width depth angle line level
    upside midair mid-air mid view shot point case meter metre way outdoors indoors outdoor indoor outskirts
    surroundings north south east west north-east north-west south-east south-west
    """.split()
)
"""Counts, kinds, parts and places of something else. Never alone; a noun before one names a thing: beach area."""

WRAPPERS = frozenset(
    """
    group couple pair bunch lot lots set variety series collection selection assortment range batch area region zone
    side edge section part piece portion view interior exterior
    """.split()
)
"""Those relations whose noun modifier is the thing itself: clothing set, beach area; but not tank top."""

DATES = frozenset(
    """
    january february march april may june july august september october november december
    jan feb apr aug sept oct nov dec
    monday tuesday wednesday thursday friday saturday sunday vs etc
    """.split()
)
"""Written with a capital, and yet no part of a name."""

MEASURES = frozenset(
    """
    inch centimeter centimetre millimeter millimetre kilometer kilometre mile ounce pound gram kilogram liter litre
    gallon cm mm km kg lb lbs oz ml ft px dpi mb gb mp mph hp mah kw usd eur gbp pcs qty pt cu vol ii iii iv vi vii
    viii ix xl xxl xs jr sr
    """.split()
)
"""Units and numerals: neither a concept nor the beginning of one."""

COLOURS = frozenset(
    "red blue green yellow orange black white pink purple brown grey gray gold silver beige maroon tan".split()
)
"""Adjectives wherever a noun follows, whatever a tagger says."""

ABSTRACT = frozenset(
    """
    day night time year month week weekend hour minute second moment morning evening afternoon dusk dawn daytime
    nighttime noon midday century decade period era age date while past future present beginning start
    today tomorrow yesterday tonight anniversary

    thing stuff object item something anything everything nothing someone somebody anyone everyone one all other another
    he she we they my our your his their ours theirs this each both what how now via plus must do doing
    him her them us me you it its itself himself herself themselves myself yourself up down out off over de
    same manner instance category thought theme topic subject matter fact truth reason cause purpose aim meaning
    sense issue problem question answer solution result effect impact consequence success failure chance
    opportunity choice decision option possibility ability skill talent knowledge information data detail feature
    quality quantity property aspect factor element characteristic condition state status situation circumstance
    context relation relationship connection difference similarity comparison contrast order sequence process method
    technique procedure approach strategy scheme principle rule standard measure degree rate ratio percent percentage
    average extent limit term value price cost budget sale discount deal offer shipping delivery payment guarantee
    warranty review rating opinion belief viewpoint perspective attitude feeling emotion mood love hate hope fear joy
    fun happiness sadness anger anxiety pride passion desire wish interest attention attempt effort try help support
    need use usage work action act activity practice movement motion progress development growth change increase
    decrease addition introduction presentation performance behaviour behavior life death birth existence experience
    adventure history memory culture tradition faith nature reality fantasy imagination creativity inspiration beauty
    elegance luxury fashion trend vibe vintage look appearance expression pose posture stance silence touch speed
    power energy force strength weight pressure temperature gender race identity personality role job career
    profession business industry economy economics politics policy law justice freedom peace violence crime poverty
    wealth health safety security danger risk protection education learning research science technology communication
    conversation discussion debate name quote phrase sentence description explanation definition instruction advice
    tip news story tale fiction genre mystery secret surprise supply access exposure focus study non-specific
    violet turquoise
    """.split()
).union(DATES, MEASURES, COLOURS - {"orange", "gold", "silver"})
"""Times, measures and notions: nothing to point at, and encoders of images are drawn to them from everywhere."""

NEVER_ALONE = MEDIUM | RELATION | ABSTRACT

OPINION = frozenset(
    """
    beautiful cute nice lovely amazing good best better bad worst new newest latest awesome perfect gorgeous
    stunning wonderful adorable pretty fantastic incredible favourite favorite popular famous special unique cool
    interesting funny fun impressive spectacular magnificent excellent ideal ultimate super cheap free original
    official true actual typical standard normal usual general specific particular certain possible
    available ready important main final last next previous former current recent modern-day upcoming

    other same different various several many few more most such own whole entire first second third
    individual separate similar opposite identical additional extra another all both each every numerous multiple
    assorted respective overall total own very non-specific close nearby distant
    """.split()
)
"""Adjectives of praise, of number and of place: a concept does not begin with one, since they show nothing."""

GENERIC = {
    Language.ENGLISH: NEVER_ALONE,
    Language.GERMAN: frozenset(
        """
        foto fotografie bild abbildung illustration hintergrund vordergrund aufnahme nahaufnahme ansicht vektor video
        vorlage porträt gruppe paar reihe anzahl menge teil stück hälfte art sorte serie auswahl sammlung größe farbe
        muster seite oberseite unterseite vorderseite rückseite mitte ende rand ecke bereich gegend ort stelle richtung
        entfernung nähe blick innere freie tag nacht zeit jahr monat woche stunde minute moment morgen abend
        nachmittag uhr weise ding sache idee grund aktivität arbeit leben liebe spaß spass hilfe versuch gespräch
        ferne umgebung alter schwarz weiß rot blau grün gelb braun grau rosa lila violett türkis beige
        """.split()
    ),
    Language.DUTCH: frozenset(
        """
        foto fotografie afbeelding illustratie achtergrond voorgrond plaatje weergave portret vector video groep paar
        rij aantal deel stuk helft soort serie kleur kant zijkant voorkant achterkant bovenkant midden einde hoek gebied
        plaats plek richting afstand dag nacht tijd jaar maand week uur minuut moment ochtend avond middag manier ding
        zaak idee reden leven liefde plezier hulp
        """.split()
    ),
    Language.OTHER: frozenset(
        """
        photo photographie image illustration fond arrière-plan vue portrait vidéo vecteur dessin gros-plan foto
        fotografía imagen fondo vista retrato vídeo fotografia immagine sfondo ritratto imagem fundo
        """.split()
    ),
}
"""What is never a concept by itself, by language. They differ: a German "kind" is a child."""
