(* More on B20 Theorem 1: the witness 2^I in closed form, every X of deficient rank, almost every P. *)
From mathcomp Require Import all_ssreflect all_algebra.
From rankbound Require Import model exponential linalg almost_all log_rank softmax_gauge theorem_a theorem_1.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory.
Local Open Scope ring_scope.

Section More.
Variable R : expField.

(* P prop. to 2^I: 2/(n+1) on the diagonal, 1/(n+1) elsewhere *)
Lemma exp_identity_two n i j : exp_identity n (ln 2%:R : R) i j = 2%:R ^+ (i == j) / n.+1%:R.
Proof.
have E l : expR (((ln 2%:R)%:M : 'M[R]_n) l j) = 2%:R ^+ (l == j).
  rewrite mxE; case: eqP => _; rewrite ?mulr0n ?expR0 ?expr0 // mulr1n expr1 lnK //.
  by rewrite posrE ltr0n.
rewrite softmaxE E (eq_bigr _ (fun l _ => E l)); congr (_ / _).
rewrite (bigD1 j) //= eqxx expr1 (eq_bigr (fun=> 1)) => [|l /negPf ->] //.
rewrite sumr_const -natrD; congr (_%:R).
by rewrite cardC1 card_ord add2n prednK // (leq_ltn_trans _ (ltn_ord j)).
Qed.

Lemma ln2_neq0 : ln 2%:R != 0 :> R.
Proof.
apply/eqP => /(congr1 expR); rewrite expR0 lnK ?posrE ?ltr0n // => /eqP.
by rewrite -[1]/(1%:R) eqr_nat.
Qed.

Corollary two_needs d n k s (X : 'M[R]_(d, n)) (Wk Wq : 'M_(k, d)) : (0 < n)%N ->
  (forall i j, context s X Wk Wq i j = 2%:R ^+ (i == j) / n.+1%:R) -> (n.-1 <= k)%N.
Proof.
move=> n0 h; apply: (exp_identity_needs n0 ln2_neq0 (s := s) (X := X) (Wk := Wk) (Wq := Wq)).
by apply/matrixP => i j; rewrite h exp_identity_two.
Qed.

(* X of rank < n, n >= 2: in some direction E almost every logits A + t E, whatever A, have a context
   that no head of any size has on X at any scale (all t but at most one) *)
Theorem deficient_lines d n (X : 'M[R]_(d, n)) : (1 < n)%N -> (\rank X < n)%N ->
  exists i j : 'I_n, forall A : 'M[R]_n,
    almost_all (fun t : R => forall s k, ~ reachable k s X (softmax (A + t *: delta_mx i j))).
Proof.
move=> n1 rX; have n0 := ltnW n1.
have [v Xv v0] : exists2 v : 'cV[R]_n, X *m v = 0 & 1%:M *m v != 0.
  by apply: not_submx_witness; apply: contraL rX => /mxrankS; rewrite mxrank1 leqNgt.
rewrite mul1mx in v0; have [j vj] := cV0Pn _ v0.
pose i : 'I_n := Ordinal n0; pose l : 'I_n := Ordinal n1.
exists i, j => A; set E := delta_mx i j.
have Ev a : (E *m v) a 0 = (a == i)%:R * v j 0.
  by rewrite /E -(mul_delta_mx (0 : 'I_1)) -mulmxA -rowE mxE big_ord1 !mxE eqxx andbT.
have : centre R n *m E *m v != 0.
  rewrite /centre -mulmxA mulmxBl mul1mx -scalemxAl -mulmxA scalemxAr subr_eq0.
  apply: contraNneq vj => e; have /matrixP/(_ l 0) hl := e; have /matrixP/(_ i 0) := e.
  by rewrite onesE -(onesE _ l 0) -hl !Ev eqxx mul1r (_ : l == i = false) // mul0r => ->.
case/matrix0Pn => a [z]; rewrite ord1 => nz {z}.
exists [:: - (centre R n *m A *m v) a 0 / (centre R n *m E *m v) a 0] => t; rewrite inE => tn.
move=> s k [Wk [Wq]] /(contextP _ _ (softmax_stochastic _ n0)) [c hc].
have [c' h'] := (softmax_eq (A + t *: E) (softmax_stochastic _ n0)).1 erefl.
have : centre R n *m (A + t *: E) *m v = 0.
  have -> : centre R n *m (A + t *: E) = centre R n *m ((Wk *m X)^T *m (s *: Wq *m X)).
    by rewrite hc {1}h' !(centre_gauge (nR0 R n0)).
  by rewrite -!mulmxA Xv !mulmx0.
rewrite mulmxDr mulmxDl -scalemxAr -scalemxAl => /matrixP/(_ a 0).
rewrite mxE [X in _ + X]mxE [RHS]mxE => /eqP; rewrite addrC addr_eq0 => /eqP e.
by case/eqP: tn; rewrite -e mulfK.
Qed.

(* X of rank < n, n >= 2: some P is out of reach at every scale and head size *)
Corollary deficient d n (X : 'M[R]_(d, n)) : (1 < n)%N -> (\rank X < n)%N ->
  exists2 P : 'M[R]_n, stochastic P & forall s k, ~ reachable k s X P.
Proof.
move=> n1 rX; have [i [j h]] := deficient_lines n1 rX.
have [t ht _] := almost_all_small (h 0) ltr01.
by exists (softmax (0 + t *: delta_mx i j)) => //; apply: softmax_stochastic; apply: ltnW.
Qed.

(* logits A + t I need head size n - 1 for all t but finitely many *)
Theorem almost_every n (A : 'M[R]_n) : (0 < n)%N ->
  almost_all (fun t : R => logrank (softmax (A + t%:M)) = n.-1).
Proof.
move=> n0; have [p [p0 _ h]] := generic_rank (centre R n *m A) (centre R n).
have [s hs] := almost_all_nonroots p0; exists s => t /hs/h; rewrite rank_centre // => le.
have sP := softmax_stochastic (A + t%:M) n0.
have [c hc] := (softmax_eq (A + t%:M) sP).1 erefl.
have e : logrank (softmax (A + t%:M)) = \rank (centre R n *m A + t *: centre R n)%R.
  rewrite /logrank -(centre_gauge (nR0 R n0) _ c) -hc mulmxDr mul_mx_scalar.
  by [].
apply/eqP; rewrite eqn_leq {2}e le andbT -ltnS prednK //.
exact: logrank_lt (nR0 R n0) _ n0.
Qed.
End More.
