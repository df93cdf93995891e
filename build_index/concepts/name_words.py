"""Common words that take part in names."""

LINKS = frozenset("of de del della di da do dos du des d' la le les los las el the der den von van und y 's".split())
"""Words that may stand inside a name when the name goes on behind them."""

FOREIGN_LINKS = LINKS - {"of", "the", "'s"}

STARTERS = frozenset(
    """
    new san santa santo saint st st. los las river monte mount mt mt. lake port fort ft. cape north south east west sir
    lord lady king queen prince princess pope emperor duke duchess count countess president mr mr. mrs mrs. ms
    ms. dr dr. captain general colonel uncle aunt
    """.split()
)
"""Common words that belong to the name behind them."""

HEADS = frozenset(
    """
    park center centre festival street road avenue boulevard lane square river lake bay gulf sea ocean creek canal
    bridge castle museum tower church cathedral basilica chapel abbey priory monastery mosque temple shrine palace fort
    gate hotel inn hospital university college school academy library theatre theater opera ballet orchestra stadium
    arena airport station island islands isle beach coast cape mountain mountains mount peak hill hills valley canyon
    falls waterfall forest desert gardens house hall court manor mansion club society county city town village
    district harbour harbor building pier lighthouse zoo market airlines airways railway cup trophy prize award awards
    band foundation institute day war battle empire republic kingdom states cemetery memorial monument statue springs
    brothers sisters jr jr. sr sr.
    """.split()
)
"""Common words that end a name, or begin one before "of": Trondheim Jazz Festival, Tower of London."""
